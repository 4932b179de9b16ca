#!lua flags=allow-oom
-- Ends a replay: destroys its group unless another process is in it, and deletes the stream if nothing is left in it.
-- KEYS: input, leases. ARGV: group, consumer, process
local input, leases = KEYS[1], KEYS[2]
local group, consumer, process = ARGV[1], ARGV[2], ARGV[3]

redis.call('ZREM', leases, process)
if redis.call('EXISTS', input) == 0 then return 0 end
if #redis.call('ZRANGE', leases, 0, 0) > 0 then
  redis.pcall('XGROUP', 'DELCONSUMER', input, group, consumer)
  return 0
end
redis.call('XGROUP', 'DESTROY', input, group)
if redis.call('XLEN', input) == 0 and #redis.call('XINFO', 'GROUPS', input) == 0 then
  redis.call('UNLINK', input)
end
return 1
