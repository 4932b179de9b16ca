-- The whole state of a group, one item per line.
-- KEYS: input, output, leases. ARGV: group, pattern of the tokens
local input, output, leases = KEYS[1], KEYS[2], KEYS[3]
local group, tokens = ARGV[1], ARGV[2]

local lines = {}
local function line(...) lines[#lines + 1] = table.concat({ ... }, ' ') end

local last
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  for i = 1, #info, 2 do
    if info[i] == 'last-delivered-id' then last = info[i + 1] end
  end
end
for _, entry in ipairs(redis.call('XRANGE', input, '(' .. last, '+')) do line('unread', entry[1]) end
for _, entry in ipairs(redis.call('XPENDING', input, group, '-', '+', 100)) do
  line('pending', entry[1], entry[2])
end
for _, entry in ipairs(redis.call('XRANGE', output, '-', '+')) do line('output', entry[2][2], entry[2][4]) end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', input, group)) do line('consumer', consumer[2]) end
for _, token in ipairs(redis.call('KEYS', tokens)) do line('token', token) end
for _, process in ipairs(redis.call('ZRANGE', leases, 0, -1)) do line('lease', process) end
return table.concat(lines, '\n')
