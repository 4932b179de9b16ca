-- Begins a segment, and publishes its marker.
-- KEYS: token, segments. ARGV: segment, channel of the markers
-- Returns: 'over' or 'done'.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'over' end
set_extent(KEYS[2], ARGV[1], 0)
redis.call('PUBLISH', ARGV[2], ARGV[1])
return 'done'
