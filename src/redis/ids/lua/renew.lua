-- Renews the lease of `process`, and puts back, in order, those of the given ids that are missing.
-- ARGV: process, lease in ms, its description as JSON, the most processes to return of each kind, ids …
-- Returns: whether there was no valid lease, how many ids were added to the list, how many to the set of held ids,
-- processes whose lease has lapsed (the longest ago first), living processes (the last renewed first).
local process, lease, about, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local lapsed = not lives(process)
local missing = {}
for i = 5, #ARGV do
  if not redis.call('LPOS', ids, ARGV[i]) then missing[#missing + 1] = ARGV[i] end
end

-- The lease first. If a later write is refused (a key of another type, a missing permission), earlier writes stay, and
-- an id without a lease would never be removed.
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
