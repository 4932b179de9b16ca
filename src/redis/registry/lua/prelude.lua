#!lua flags=allow-oom
-- What all scripts begin with that ask who lives. Each is one atomic step.
-- Allowed when out of memory: who may not renew would be taken for dead, and nobody could take over from the dead.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function lives(leases, process)
  local expiry = redis.call('ZSCORE', leases, process)
  return expiry and tonumber(expiry) >= now
end

