-- Renews the lease of `process`, and puts back what is missing of some of its ids, in order.
-- ARGV: process, lease in ms, what it says about itself, how many others to name at most, ids …
-- Returns: whether there was no valid lease, how many ids were put into the list, how many into the set of
-- those held, the processes whose lease lapsed (the longest first), those that live (the latest first).
local process, lease, about, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local lapsed = not lives(process)
local missing = {}
for i = 5, #ARGV do
  if not redis.call('LPOS', ids, ARGV[i]) then missing[#missing + 1] = ARGV[i] end
end

-- The lease first: if a write is refused (a key of another type, a missing permission), what was written
-- before it stays, and then no id may be in the list that nobody will remove.
redis.call('ZADD', leases, now + lease, process)
redis.call('HSET', processes, process, about)
local held_anew = 0
if #ARGV > 4 then held_anew = redis.call('SADD', held, unpack(ARGV, 5)) end
if #missing > 0 then redis.call('RPUSH', ids, unpack(missing)) end

return {
  lapsed and 1 or 0,
  #missing,
  held_anew,
  redis.call('ZRANGE', leases, '-inf', '(' .. string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, most),
  redis.call('ZRANGE', leases, '+inf', string.format('%.0f', now), 'BYSCORE', 'REV', 'LIMIT', 0, most),
}
