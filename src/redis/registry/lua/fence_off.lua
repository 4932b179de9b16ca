-- Ends the epoch of `process` if it counts as dead: nothing that it holds can be committed from then on.
-- KEYS: leases, token of the process. ARGV: caller, process, why:
--   'lapsed'    its lease has lapsed
--   'unlisted'  it has had no lease at all for as long as a lease lasts, as the caller has seen
--   'own'       it is the caller's own former epoch
-- Returns: 'done', 'lives', or 'caller lapsed'.
local leases, token = KEYS[1], KEYS[2]
local caller, process, why = ARGV[1], ARGV[2], ARGV[3]

if why ~= 'own' then
  -- The cause that kept the caller from renewing may have kept `process` from it too.
  if not lives(leases, caller) then return 'caller lapsed' end
  if redis.call('EXISTS', token) == 1 then
    local listed = redis.call('ZSCORE', leases, process)
    if lives(leases, process) or (why == 'lapsed') ~= (listed ~= false) then return 'lives' end
  end
end
redis.call('UNLINK', token)
return 'done'
