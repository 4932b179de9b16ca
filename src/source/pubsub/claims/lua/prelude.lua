-- The beginning of all scripts. Each script is one atomic step.
--
-- Ranges are text: 'segment:from-to segment:from-to …'. They contain `from` and not `to`; without `to` they have no end
-- yet. Keys:
--   segments  hash: segment → 'frontier', or 'frontier end'
--   runs      hash: member → ranges that it has received or will receive, in the order of its claims
--   claims    hash: member → ranges that it has claimed; 'free' → ranges that nobody has claimed any more
--   calls     hash: member → 'number of its last report', 'number of its last claim', ranges that this gave
--   done      sorted set: segments of which everything is committed, by the time of that
local function parse(text)
  local ranges = {}
  for segment, from, to in string.gmatch(text or '', '([^%s:]+):(%d+)%-(%d*)') do
    ranges[#ranges + 1] = { segment, tonumber(from), tonumber(to) or math.huge }
  end
  return ranges
end

local function format(ranges)
  local texts = {}
  for _, range in ipairs(ranges) do
    local to = range[3] == math.huge and '' or string.format('%.0f', range[3])
    texts[#texts + 1] = string.format('%s:%.0f-%s', range[1], range[2], to)
  end
  return table.concat(texts, ' ')
end

-- The parts of `ranges` that are in `others` (`inside`), or the parts that are not. The parts of one range stay in order.
local function select(ranges, others, inside)
  local selected = {}
  for _, range in ipairs(ranges) do
    local cuts = {}
    for _, other in ipairs(others) do
      local from, to = math.max(range[2], other[2]), math.min(range[3], other[3])
      if other[1] == range[1] and from < to then cuts[#cuts + 1] = { range[1], from, to } end
    end
    table.sort(cuts, function(a, b) return a[2] < b[2] end)
    local at = range[2]
    for _, cut in ipairs(cuts) do
      if inside then
        selected[#selected + 1] = cut
      elseif at < cut[2] then
        selected[#selected + 1] = { range[1], at, cut[2] }
      end
      at = math.max(at, cut[3])
    end
    if not inside and at < range[3] then selected[#selected + 1] = { range[1], at, range[3] } end
  end
  return selected
end

-- Joins ranges that touch, in order.
local function join(ranges)
  table.sort(ranges, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  local joined = {}
  for _, range in ipairs(ranges) do
    local last = joined[#joined]
    if last and last[1] == range[1] and range[2] <= last[3] then
      last[3] = math.max(last[3], range[3])
    else
      joined[#joined + 1] = { range[1], range[2], range[3] }
    end
  end
  return joined
end

local function load(key, field) return parse(redis.call('HGET', key, field)) end

local function store(key, field, ranges)
  if #ranges == 0 then redis.call('HDEL', key, field) else redis.call('HSET', key, field, format(ranges)) end
end

local function add(key, field, ranges)
  if #ranges == 0 then return end
  local all = load(key, field)
  for _, range in ipairs(ranges) do all[#all + 1] = range end
  store(key, field, join(all))
end

-- The frontier and the end of a segment; no frontier if it is not known.
local function extent(segments, segment)
  local frontier, to = string.match(redis.call('HGET', segments, segment) or '', '^(%d+) ?(%d*)$')
  return tonumber(frontier), tonumber(to)
end

local function set_extent(segments, segment, frontier, to)
  local text = string.format('%.0f', frontier)
  if to then text = text .. string.format(' %.0f', to) end
  redis.call('HSET', segments, segment, text)
end

-- A segment ends here: what was claimed beyond never was.
local function finish(segments, claims, segment, at)
  local frontier, known = extent(segments, segment)
  if not frontier or known then return end
  set_extent(segments, segment, math.min(frontier, at), at)
  local beyond = { { segment, at, math.huge } }
  local all = redis.call('HGETALL', claims)
  for i = 1, #all, 2 do store(claims, all[i], select(parse(all[i + 1]), beyond, false)) end
end

-- Ends an epoch: nothing of it can be committed from then on, and others get what it had claimed.
local function fence_off(token, runs, claims, calls, member)
  redis.call('UNLINK', token)
  local freed = load(claims, member)
  redis.call('HDEL', runs, member)
  redis.call('HDEL', claims, member)
  redis.call('HDEL', calls, member)
  add(claims, 'free', freed)
end

