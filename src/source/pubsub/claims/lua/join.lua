-- Begins an epoch, with what this process has received before.
-- KEYS: token, segments, runs, claims, calls, done, token of the former epoch. ARGV: member, former member or '', runs
-- Returns: the segments among them that are done.
local token, segments, runs, claims, calls, done = unpack(KEYS)
local member, former = ARGV[1], ARGV[2]

if former ~= '' then fence_off(KEYS[7], runs, claims, calls, former) end
local kept, of_done = {}, {}
for _, run in ipairs(parse(ARGV[3])) do
  if redis.call('ZSCORE', done, run[1]) then
    of_done[#of_done + 1] = run[1]
  else
    -- A segment that is neither known nor done was lost when Redis went back, and all of its commits with it.
    if not extent(segments, run[1]) then set_extent(segments, run[1], 0) end
    kept[#kept + 1] = run
  end
end
redis.call('SET', token, member)
store(runs, member, kept)
redis.call('HSET', calls, member, '0 0 ')
return of_done
