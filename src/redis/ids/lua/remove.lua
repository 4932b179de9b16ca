-- Removes some of the ids that `process` holds from the list.
-- ARGV: caller, process, how many at most
-- Returns: the refusal or 'done', and how many were removed. Fewer than asked for: none are left.
local caller, process, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local no = refusal(caller, process)
if no then return { no, 0 } end

-- Checks the type of the list before an id is removed from the set of held ids.
redis.call('LPOS', ids, '')
local taken = redis.call('SPOP', held, most)
for _, id in ipairs(taken) do
  redis.call('LREM', ids, 0, id)
end
return { 'done', #taken }
