-- Takes some of the ids that `process` holds out of the list.
-- ARGV: caller, process, how many at most
-- Returns: the refusal or 'done', how many were taken: fewer than asked for means that none are left.
local caller, process, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local no = refusal(caller, process)
if no then return { no, 0 } end

-- The type of the list is known before an id is taken from those held.
redis.call('LPOS', ids, '')
local taken = redis.call('SPOP', held, most)
for _, id in ipairs(taken) do
  redis.call('LREM', ids, 0, id)
end
return { 'done', #taken }
