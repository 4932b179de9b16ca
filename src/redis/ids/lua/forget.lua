-- Deletes the lease of `process`, the last thing left of it: its ids and lane keys are already gone.
-- ARGV: caller, process
-- Returns: the refusal or 'done'.
local caller, process = ARGV[1], ARGV[2]

local no = refusal(caller, process)
if no then return no end

redis.call('ZREM', leases, process)
redis.call('HDEL', processes, process)
return 'done'
