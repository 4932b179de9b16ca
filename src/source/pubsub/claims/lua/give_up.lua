-- Gives up what no member has received and none will receive. Call it when all living members have reported.
-- KEYS: segments, runs, claims
-- Returns: the ranges that are lost.
local segments, runs, claims = unpack(KEYS)

local held, received, counts = {}, {}, {}
for _, text in ipairs(redis.call('HVALS', runs)) do
  for _, run in ipairs(parse(text)) do
    held[#held + 1] = run
    if run[3] == math.huge then counts[run[1]] = true end
    received[run[1]] = math.max(received[run[1]] or 0, run[3])
  end
end
-- First the ends: what was claimed beyond them never was.
local names = redis.call('HKEYS', segments)
for _, segment in ipairs(names) do
  local _, to = extent(segments, segment)
  if not to and not counts[segment] then finish(segments, claims, segment, received[segment] or 0) end
end
local free = load(claims, 'free')
local lost = select(free, held, false)
store(claims, 'free', select(free, lost, false))
for _, segment in ipairs(names) do
  local frontier, to = extent(segments, segment)
  -- The frontier moves in order: up to the first position that somebody has.
  if to and frontier < to then
    local upto = to
    for _, run in ipairs(held) do
      if run[1] == segment and run[3] > frontier and run[2] < upto then upto = math.max(run[2], frontier) end
    end
    if upto > frontier then
      lost[#lost + 1] = { segment, frontier, upto }
      set_extent(segments, segment, upto, to)
    end
  end
end
return format(join(lost))
