#!lua flags=allow-oom
-- Repairs the group's count of what it has read, after a read that has jumped over entries which were trimmed. Redis before
-- 8.0 counts only what it hands out, and what was trimmed would be counted as lost again with whatever is trimmed next.
-- KEYS: input. ARGV: group, the last entry that was handed out by that read, how many were ever added up to it
-- Returns: 1 if it was repaired.
local input, group, from, position = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
-- Others may have read on meanwhile: no more than in a few round trips.
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
