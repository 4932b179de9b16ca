#!lua flags=allow-oom
-- Deletes a consumer whose epoch is over from the group, once nothing is pending for it, and its lease.
-- KEYS: input, leases, token. ARGV: group, consumer, process
-- Returns: 'done', 'lives', or 'pending'.
local input, leases = KEYS[1], KEYS[2]
local group, consumer, process = ARGV[1], ARGV[2], ARGV[3]

if redis.call('EXISTS', KEYS[3]) == 1 then return 'lives' end
local pending = redis.pcall('XPENDING', input, group, '-', '+', 1, consumer)
-- If the group is missing, so is the consumer.
if not pending.err then
  if #pending > 0 then return 'pending' end
  redis.call('XGROUP', 'DELCONSUMER', input, group, consumer)
end
redis.call('ZREM', leases, process)
return 'done'
