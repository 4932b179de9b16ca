#!lua flags=allow-oom
-- Takes over some of the entries that are pending for another consumer. May be repeated if the answer was lost:
-- entries that the caller already holds are returned again, without counting another attempt.
-- KEYS: input, the caller's token, the holder's token (which never exists for a consumer that is not ours)
-- ARGV: group, the caller's consumer, the holder's consumer, the least idle time in ms, ids …
-- Returns: 'fenced_off', 'lives', or 'done'; how many were deleted; [id, fields, attempt] …
local input = KEYS[1]
local group, caller, holder, idle = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

if redis.call('EXISTS', KEYS[2]) == 0 then return { 'fenced_off', 0 } end
if redis.call('EXISTS', KEYS[3]) == 1 then return { 'lives', 0 } end

local taken = { 'done', 0 }
for i = 5, #ARGV do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', input, group, id, id, 1)[1]
  local claimed = nil
  if pending and pending[2] == caller then
    claimed = redis.call('XCLAIM', input, group, caller, 0, id, 'RETRYCOUNT', pending[4])
  elseif pending and pending[2] == holder and pending[3] >= idle then
    pending[4] = pending[4] + 1
    claimed = redis.call('XCLAIM', input, group, caller, 0, id, 'RETRYCOUNT', pending[4])
  end
  if claimed and claimed[1] then
    taken[#taken + 1] = { claimed[1][1], claimed[1][2], pending[4] }
  elseif claimed then
    -- Nobody has acknowledged it, but the entry was deleted.
    redis.call('XACK', input, group, id)
    taken[2] = taken[2] + 1
  end
end
return taken
