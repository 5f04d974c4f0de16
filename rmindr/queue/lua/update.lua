-- update: delayed | inactive -> delayed | inactive
-- Change what is asked of a job before it runs. A new delay counts from now; a delay of nothing means run now.
--
-- ARGV  1 now, ms or ''   2 id   3 data as JSON or ''   4 priority or ''   5 delay, ms or ''   6 due, ms or ''
-- Returns the state it is in now, or 'missing', or the state that refuses.

local id, data, priority, delay, due = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local job = read(id)
if not job then return 'missing' end
if job.state ~= 'delayed' and job.state ~= 'inactive' then return job.state end

local fields = { 'updated_at', int(now) }
if data ~= '' then fields[#fields + 1], fields[#fields + 2] = 'data', data end
if priority ~= '' then
  fields[#fields + 1], fields[#fields + 2] = 'priority', priority
  job.priority = priority
end
local target = job.state
if delay ~= '' or due ~= '' then
  job.promote_at = due ~= '' and tonumber(due) or now + tonumber(delay)
  target = job.promote_at > now and 'delayed' or 'inactive'
  for _, value in ipairs({ 'delay', int(math.max(0, job.promote_at - now)), 'promote_at', int(math.max(job.promote_at, now)) }) do
    fields[#fields + 1] = value
  end
end

redis.call('ZADD', jobs, job.priority, zid(id))
if target == 'inactive' and job.state == 'inactive' then
  -- It waits already and has its token: another enqueue would wake somebody for nothing.
  -- XX: a member that is missing may be in the hands of a Kue worker, which takes it out before it says so.
  redis.call('ZADD', states.inactive, 'XX', job.priority, zid(id))
  redis.call('ZADD', of_type(job.type, 'inactive'), 'XX', job.priority, zid(id))
  redis.call('HSET', hash_of(id), unpack(fields))
else
  leave(job)
  enter(job, target, unpack(fields))
end
return target
