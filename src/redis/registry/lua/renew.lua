-- Begins an epoch, or renews its lease.
-- KEYS: leases, token, input. ARGV: process, lease in ms, 'join' or 'renew', group, consumer
-- Returns: 'renewed'; 'lapsed' if there was no valid lease; 'fenced_off' if the token is gone.
local leases, token = KEYS[1], KEYS[2]
local process, lease = ARGV[1], tonumber(ARGV[2])

if ARGV[3] == 'join' then
  -- The consumer exists before it has read anything, because the search for dead members goes through the group.
  redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[3], ARGV[4], ARGV[5])
  redis.call('SET', token, process)
elseif redis.call('EXISTS', token) == 0 then
  return 'fenced_off'
end
local lapsed = not lives(leases, process)
redis.call('ZADD', leases, now + lease, process)
return lapsed and 'lapsed' or 'renewed'
