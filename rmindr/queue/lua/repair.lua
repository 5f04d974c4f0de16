-- repair: any state -> the state that the hash says
-- Put right what a crash of a Kue has left between two states: listed nowhere, listed twice, or failed with attempts left
-- and nobody to try again. What has changed since it was first seen is left alone: it is being moved.
--
-- ARGV  1 now, ms or ''   then per job: id, its `updated_at` when it was first seen, or ''
-- Returns per job 'whole', 'moving', or 'repaired'.

local function listed_rightly(job)
  local member = zid(job.id)
  if redis.call('SISMEMBER', types, job.type) == 0 then return false end
  for state, set in pairs(states) do
    local here = job.state == state
    local in_state, in_type = redis.call('ZSCORE', set, member), redis.call('ZSCORE', of_type(job.type, state), member)
    if here ~= (in_state and true or false) or here ~= (in_type and true or false) then return false end
    if ended[state] and here ~= (redis.call('ZSCORE', ended[state], member) and true or false) then return false end
  end
  return redis.call('ZSCORE', jobs, member) and true or false
end

local function mend(job)
  -- Ours end in the list of those that have ended; a job that is failed and not in it a Kue has left there.
  local half_failed = job.state == 'failed' and job.attempts < job.max_attempts
    and not redis.call('ZSCORE', ended.failed, zid(job.id))
  unlist(job)
  redis.call('SADD', types, job.type)
  add(jobs, job.priority, zid(job.id))
  if half_failed then return enter(job, 'inactive') end
  if job.lease ~= '' then add(leases, int(now), zid(job.id)) end
  return enter(job, job.state)
end

local function repair(id, seen)
  local updated_at = redis.pcall('HGET', hash_of(id), 'updated_at')
  if (updated_at and not updated_at.err and updated_at or '') ~= seen then return 'moving' end
  local job = read(id)
  if job and states[job.state] then
    if listed_rightly(job) then return 'whole' end
    mend(job)
    return 'repaired'
  end
  -- Without a state: its creation was cut off. Complete but for that, it can still live.
  local fields = redis.pcall('HMGET', hash_of(id), 'type', 'priority', 'promote_at', 'data')
  if not fields.err and fields[1] and fields[4] and number(fields[2]) and number(fields[3]) then
    job = { id = id, type = fields[1], priority = fields[2], promote_at = number(fields[3]) }
    unlist(job)
    redis.call('SADD', types, job.type)
    add(jobs, job.priority, zid(id))
    enter(job, job.promote_at > now and 'delayed' or 'inactive')
  else
    set_aside(id)
  end
  return 'repaired'
end

local replies = {}
for at = 2, #ARGV, 2 do replies[#replies + 1] = repair(ARGV[at], ARGV[at + 1]) end
return replies
