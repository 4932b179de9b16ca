-- Checks that the group's count of entries read is reliable, and repairs it if the stream shows the right count. A
-- server that loaded its data from an append-only file, or that was a replica, knows the last delivered entry, but not
-- how many there were up to it.
-- KEYS: input. ARGV: group
-- Returns: 'known', 'repaired' or 'unknown'.
local input, group = KEYS[1], ARGV[1]
-- The most entries that are counted.
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
    -- Nothing was delivered: the count is still that of the group's creation.
    if last == '0-0' then return 'known' end
    local position
    if not before(last, stream['last-generated-id']) then
      position = stream['entries-added']
    else
      local first = stream['first-entry'] and stream['first-entry'][1]
      -- Unknown if no delivered entry is left, because entries behind it may have been trimmed too, or if somebody
      -- deleted an entry behind the last delivered one.
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
