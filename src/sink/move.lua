-- Acknowledges and deletes entries, unless their records could not be appended just before: because the output is a
-- key of another type, or because XADD was forbidden after it was queued. A transaction does not roll back. KEYS:
-- input, output. ARGV: group, id … Returns: the number of entries that were pending.
local type = redis.call('TYPE', KEYS[2]).ok
if type ~= 'stream' and type ~= 'none' then
  return redis.error_reply('WRONGTYPE the output is not a stream, so nothing is deleted')
end
-- Streams reject the id 0-0, with another error than if XADD is forbidden.
local answer = redis.pcall('XADD', KEYS[2], '0-0', 'field', 'value').err
if not string.find(answer, 'greater than 0-0', 1, true) and not string.find(answer, 'OOM', 1, true) then
  return redis.error_reply(answer)
end
local acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return acknowledged
