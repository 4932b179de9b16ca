-- Removes some of the entries that every group of the stream has acknowledged.
-- KEYS: input. ARGV: about how many to remove at most; how many may be pending so that entries behind them are removed
-- as well
-- Returns: how many were removed.
local input, most, most_pending = KEYS[1], ARGV[1], tonumber(ARGV[2])

-- The next id; the same id if its sequence number is the highest possible one.
local function after(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq == '18446744073709551615' then return id end
  local nines = string.match(seq, '9*$')
  local head = string.sub(seq, 1, #seq - #nines)
  local digit = head == '' and '1' or tostring(tonumber(string.sub(head, -1)) + 1)
  return ms .. '-' .. string.sub(head, 1, -2) .. digit .. string.rep('0', #nines)
end

-- Every group has acknowledged all entries before `done`, and has read all before `read`.
local done, read
local pending = 0
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  local of_group = redis.call('XPENDING', input, known['name'])
  local upto = after(known['last-delivered-id'])
  local oldest = of_group[1] > 0 and of_group[2] or upto
  pending = pending + of_group[1]
  if not done or before(oldest, done) then done = oldest end
  if not read or before(upto, read) then read = upto end
end
-- Without a group, no entry is acknowledged.
if not done then return 0 end

-- First only whole nodes of the stream, which costs the server least.
local removed = redis.call('XTRIM', input, 'MINID', '~', done, 'LIMIT', most)
if removed > 0 then return removed end
if before(done, read) and pending <= most_pending then
  -- Redis 8.2 and later also remove acknowledged entries behind a pending one. That looks at every entry that is left.
  removed = redis.pcall('XTRIM', input, 'MINID', '=', read, 'ACKED')
  if type(removed) == 'number' then return removed end
end
return redis.call('XTRIM', input, 'MINID', '=', done)
