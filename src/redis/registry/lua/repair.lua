#!lua flags=allow-oom
-- Repairs the group's count of entries read, after a read that skipped trimmed entries. Redis before 8.0 counts only
-- delivered entries, so the trimmed ones would be counted as lost again at the next trim.
-- KEYS: input. ARGV: group, the last entry that this read delivered, how many were ever added up to it
-- Returns: 1 if it was repaired, else 0.
local input, group, from, position = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
-- Other processes may have read more since, but only as much as a few round trips deliver.
local MOST = 5000

for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local known = {}
  for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
  if known['name'] == group and known['entries-read'] then
    local last = known['last-delivered-id']
    local since = #redis.call('XRANGE', input, '(' .. from, last, 'COUNT', MOST)
    if since == MOST or known['entries-read'] == position + since then return 0 end
    redis.call('XGROUP', 'SETID', input, group, last, 'ENTRIESREAD', position + since)
    return 1
  end
end
return 0
