-- Stores what a member has received. Positions that it has claimed and will not receive become free.
-- KEYS: token, segments, runs, claims, calls. ARGV: member, number of the report, runs, ends as 'segment:end segment:end …'
-- Returns: 'over' or 'done'.
local token, segments, runs, claims, calls = unpack(KEYS)
local member, number = ARGV[1], tonumber(ARGV[2])

if redis.call('EXISTS', token) == 0 then return 'over' end
local reported, rest = string.match(redis.call('HGET', calls, member), '^(%d+) (.*)$')
-- A newer one has come first.
if number <= tonumber(reported) then return 'done' end
redis.call('HSET', calls, member, ARGV[2] .. ' ' .. rest)

for segment, at in string.gmatch(ARGV[4], '([^%s:]+):(%d+)') do finish(segments, claims, segment, tonumber(at)) end
local known = {}
for _, run in ipairs(parse(ARGV[3])) do
  if extent(segments, run[1]) then known[#known + 1] = run end
end
store(runs, member, known)
local claimed = load(claims, member)
store(claims, member, join(select(claimed, known, true)))
add(claims, 'free', select(claimed, known, false))
return 'done'
