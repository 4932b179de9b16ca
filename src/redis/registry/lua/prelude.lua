#!lua flags=allow-oom
-- The beginning of all scripts that check leases. Each script is one atomic step.
-- Allowed when out of memory: else a living process could not renew and would count as dead, and no process could take
-- over from a dead one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function lives(leases, process)
  local expiry = redis.call('ZSCORE', leases, process)
  return expiry and tonumber(expiry) >= now
end

