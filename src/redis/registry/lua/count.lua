#!lua flags=allow-oom
-- Stores the number of the attempt that begins, for those of the entries that are still pending for the caller.
-- KEYS: input, token. ARGV: group, consumer, id, attempt, id, attempt …
-- Returns: how many entries that were.
local input = KEYS[1]
local group, consumer = ARGV[1], ARGV[2]

if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local counted = 0
for i = 3, #ARGV, 2 do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local pending = redis.call('XPENDING', input, group, id, id, 1)[1]
  if pending and pending[2] == consumer and pending[4] < attempt then
    redis.call('XCLAIM', input, group, consumer, 0, id, 'RETRYCOUNT', attempt, 'JUSTID')
    counted = counted + 1
  end
end
return counted
