-- Claims positions for a member, the oldest first. Repeated with the same number, it gives the same positions.
-- KEYS: token, segments, runs, claims, calls. ARGV: member, number of the claim, the most positions
-- Returns: false if the epoch is over, or else ranges.
local token, segments, runs, claims, calls = unpack(KEYS)
local member, number, left = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('EXISTS', token) == 0 then return false end
local reported, last, given = string.match(redis.call('HGET', calls, member), '^(%d+) (%d+) (.*)$')
if last == number then return format(select(parse(given), load(claims, member), true)) end

local free, taken = load(claims, 'free'), {}
for _, run in ipairs(load(runs, member)) do
  local segment, frontier, to = run[1], extent(segments, run[1])
  if frontier then
    local within = { { segment, run[2], math.min(run[3], to or math.huge) } }
    for _, range in ipairs(select(free, within, true)) do
      if left > 0 then
        range[3] = math.min(range[3], range[2] + left)
        left = left - (range[3] - range[2])
        taken[#taken + 1] = range
      end
    end
    local upto = math.min(within[1][3], frontier + left)
    if run[2] <= frontier and frontier < upto then
      left = left - (upto - frontier)
      taken[#taken + 1] = { segment, frontier, upto }
      set_extent(segments, segment, upto, to)
    end
  end
end
store(claims, 'free', select(free, taken, false))
add(claims, member, taken)
given = format(taken)
redis.call('HSET', calls, member, reported .. ' ' .. number .. ' ' .. given)
return given
