-- Removes the entries that every group of the stream has acknowledged, some of them at a time.
-- KEYS: input. ARGV: how many at most, about
-- Returns: how many were removed.
local input, most = KEYS[1], ARGV[1]

-- The id after this one; itself if its number among those of its millisecond is the last one.
local function after(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq == '18446744073709551615' then return id end
  local nines = string.match(seq, '9*$')
  local head = string.sub(seq, 1, #seq - #nines)
  local digit = head == '' and '1' or tostring(tonumber(string.sub(head, -1)) + 1)
  return ms .. '-' .. string.sub(head, 1, -2) .. digit .. string.rep('0', #nines)
end

local keep
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  local pending = redis.call('XPENDING', input, known['name'])
  local wanted = pending[1] > 0 and pending[2] or after(known['last-delivered-id'])
  if not keep or before(wanted, keep) then keep = wanted end
end
-- Without a group nobody has acknowledged anything.
if not keep then return 0 end

-- Whole nodes first: that costs the server least.
local removed = redis.call('XTRIM', input, 'MINID', '~', keep, 'LIMIT', most)
if removed == 0 then removed = redis.call('XTRIM', input, 'MINID', '=', keep) end
return removed
