#!lua flags=allow-oom
-- The beginning of all scripts. Only these scripts write to these keys, and each is one atomic step.
-- Allowed when out of memory: else a living process could not renew and would count as dead, and dead ones could not
-- be removed.
local ids, leases, processes, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function lives(process)
  local expiry = redis.call('ZSCORE', leases, process)
  return expiry and tonumber(expiry) >= now
end

-- Why `caller` may not remove what `process` holds; nil if it may. A process may always remove its own.
local function refusal(caller, process)
  if caller == process then return nil end
  -- The cause that kept the caller from renewing may have kept `process` from it too.
  if not lives(caller) then return 'caller lapsed' end
  if lives(process) then return 'lives' end
  return nil
end

