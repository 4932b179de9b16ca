-- What a commit does to the stored state; the real one is a transaction of a lane.
-- KEYS: token, claims, output. ARGV: member, positions as ranges, messages …
-- Returns: 'over', or how many messages were appended before.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'over' end
store(KEYS[2], ARGV[1], select(load(KEYS[2], ARGV[1]), parse(ARGV[2]), false))
local twice = 0
for i = 3, #ARGV do twice = twice + 1 - redis.call('SADD', KEYS[3], ARGV[i]) end
return tostring(twice)
