-- Makes sure that the group's count of what it has read can be relied on, and repairs it where the stream shows what it
-- must be. A server that has read its data back from an append-only file, and one that was a replica, know which entry
-- was handed out last, but not how many there were up to it.
-- KEYS: input. ARGV: group
-- Returns: 'known', 'repaired' or 'unknown'.
local input, group = KEYS[1], ARGV[1]
-- As far as it is counted.
local MOST = 2000

local function fields(info)
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  return known
end

local stream = fields(redis.call('XINFO', 'STREAM', input))
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = fields(info)
  if known['name'] == group then
    local last, read = known['last-delivered-id'], known['entries-read']
    if not read then return 'unknown' end
    -- Nothing was handed out: it is as it was when the group was created.
    if last == '0-0' then return 'known' end
    local position
    if not before(last, stream['last-generated-id']) then
      position = stream['entries-added']
    else
      local first = stream['first-entry'] and stream['first-entry'][1]
      -- Unless one that was handed out is still there, something behind it may be gone; or somebody has deleted it.
      if not first or before(last, first) or before(last, stream['max-deleted-entry-id']) then return 'unknown' end
      local unread = #redis.call('XRANGE', input, '(' .. last, '+', 'COUNT', MOST)
      if unread < MOST then
        position = stream['entries-added'] - unread
      else
        local done = #redis.call('XRANGE', input, '-', last, 'COUNT', MOST)
        if done == MOST then return 'unknown' end
        position = stream['entries-added'] - stream['length'] + done
      end
    end
    if read == position then return 'known' end
    redis.call('XGROUP', 'SETID', input, group, last, 'ENTRIESREAD', position)
    return 'repaired'
  end
end
return 'unknown'
