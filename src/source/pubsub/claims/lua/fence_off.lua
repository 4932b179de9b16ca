-- Ends the epoch of a member that counts as dead.
-- KEYS: token of the caller, token of the dead member, runs, claims, calls. ARGV: the dead member
-- Returns: 'over' or 'done'.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'over' end
fence_off(KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1])
return 'done'
