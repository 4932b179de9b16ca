-- Begins a tenure, or renews its lease.
-- KEYS: leases, permit, input. ARGV: process, lease in ms, 'join' or 'renew', group, consumer
-- Returns: 'kept'; 'lapsed' when there was no valid lease; 'expelled' when the permit is gone.
local leases, permit = KEYS[1], KEYS[2]
local process, lease = ARGV[1], tonumber(ARGV[2])

if ARGV[3] == 'join' then
  -- In the group before it has read anything: there those are looked for who have died.
  redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[3], ARGV[4], ARGV[5])
  redis.call('SET', permit, process)
elseif redis.call('EXISTS', permit) == 0 then
  return 'expelled'
end
local lapsed = not lives(leases, process)
redis.call('ZADD', leases, now + lease, process)
return lapsed and 'lapsed' or 'kept'
