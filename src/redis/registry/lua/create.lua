#!lua
-- Creates the group, and the stream if it is missing. Stores with it how many entries came before the first one that
-- the group reads, so that entries trimmed from then on can be counted.
-- KEYS: input. ARGV: group, 'beginning', 'new', or an id
local input, group, from = KEYS[1], ARGV[1], ARGV[2]

local added, length = 0, 0
if redis.call('EXISTS', input) == 1 then
  local info = redis.call('XINFO', 'STREAM', input)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'length' then length = info[i + 1] end
  end
end
if from == 'beginning' then
  return redis.call('XGROUP', 'CREATE', input, group, '0', 'MKSTREAM', 'ENTRIESREAD', added - length)
elseif from == 'new' then
  return redis.call('XGROUP', 'CREATE', input, group, '$', 'MKSTREAM', 'ENTRIESREAD', added)
end
return redis.call('XGROUP', 'CREATE', input, group, from, 'MKSTREAM')
