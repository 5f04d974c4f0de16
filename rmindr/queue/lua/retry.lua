-- retry: failed | complete -> inactive
-- Run a job again because a person asks; its count of attempts goes on.
--
-- ARGV  1 now, ms or ''   2 id
-- Returns 'ok', or 'missing', or the state that refuses, or the id of the job that holds its unique key now.

local job = read(ARGV[2])
if not job then return 'missing' end
if job.state ~= 'failed' and job.state ~= 'complete' then return job.state end
if job.unique then
  local holder = redis.call('HGET', unique, job.unique)
  local other = holder and holder ~= job.id and read(holder)
  if other and other.state ~= 'complete' and other.state ~= 'failed' then return holder end
  redis.call('HSET', unique, job.unique, job.id)
end
leave(job)
redis.call('HDEL', hash_of(job.id), 'losses')
enter(job, 'inactive')
return 'ok'
