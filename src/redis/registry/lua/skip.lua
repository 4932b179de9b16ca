#!lua flags=allow-oom
-- Counts what was trimmed unread from a stream that is empty now, and moves the group past it, so that only the first
-- caller counts it.
-- KEYS: input. ARGV: group
-- Returns: how many entries.
local input, group = KEYS[1], ARGV[1]

local stream = {}
local info = redis.call('XINFO', 'STREAM', input)
for i = 1, #info, 2 do stream[info[i]] = info[i + 1] end
if stream['length'] > 0 then return 0 end

for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  if known['name'] == group and known['entries-read'] then
    local trimmed = stream['entries-added'] - known['entries-read']
    if trimmed <= 0 then return 0 end
    redis.call('XGROUP', 'SETID', input, group, stream['last-generated-id'], 'ENTRIESREAD', stream['entries-added'])
    return trimmed
  end
end
return 0
