-- Forgets the segments that have ended and of which everything is committed.
-- KEYS: segments, runs, claims, done. ARGV: now
local segments, runs, claims, done = unpack(KEYS)

local left = {}
for _, text in ipairs(redis.call('HVALS', claims)) do
  for _, range in ipairs(parse(text)) do left[range[1]] = true end
end
local forgotten = {}
for _, segment in ipairs(redis.call('HKEYS', segments)) do
  local frontier, to = extent(segments, segment)
  if to and frontier >= to and not left[segment] then
    redis.call('HDEL', segments, segment)
    redis.call('ZADD', done, ARGV[1], segment)
    forgotten[#forgotten + 1] = { segment, 0, math.huge }
    forgotten[segment] = true
  end
end
if #forgotten == 0 then return 0 end
local all = redis.call('HGETALL', runs)
for i = 1, #all, 2 do
  local kept = {}
  for _, run in ipairs(parse(all[i + 1])) do
    if not forgotten[run[1]] then kept[#kept + 1] = run end
  end
  store(runs, all[i], kept)
end
return #forgotten
