#!lua flags=allow-oom
-- Removes the entries that every group of the stream has acknowledged, some of them at a time.
-- KEYS: input. ARGV: how many at most, about
-- Returns: how many were removed.
local input, most = KEYS[1], ARGV[1]

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local ms, seq
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  local pending = redis.call('XPENDING', input, known['name'])
  local group_ms, group_seq
  if pending[1] > 0 then
    group_ms, group_seq = parts(pending[2])
  else
    group_ms, group_seq = parts(known['last-delivered-id'])
    group_seq = group_seq + 1
  end
  if not ms or group_ms < ms or (group_ms == ms and group_seq < seq) then ms, seq = group_ms, group_seq end
end
-- Without a group nobody has acknowledged anything.
if not ms then return 0 end

local keep = string.format('%.0f-%.0f', ms, seq)
-- Whole nodes first: that costs the server least.
local removed = redis.call('XTRIM', input, 'MINID', '~', keep, 'LIMIT', most)
if removed == 0 then removed = redis.call('XTRIM', input, 'MINID', '=', keep) end
return removed
