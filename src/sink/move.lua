-- Acknowledges entries and deletes them, unless what became of them could not be appended: then the key of the output
-- has another type, and they stay.
-- KEYS: input, output. ARGV: group, id …
-- Returns: how many were pending.
local type = redis.call('TYPE', KEYS[2]).ok
if type ~= 'stream' and type ~= 'none' then
  return redis.error_reply('WRONGTYPE the output is no stream, so nothing is deleted')
end
local acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return acknowledged
