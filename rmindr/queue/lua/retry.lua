-- retry: failed | complete -> inactive
-- Run jobs again because a person asks; their count of attempts goes on.
--
-- ARGV  1 now, ms or ''   2 the state they must be in, or '' for either   then ids
-- Returns per job 'ok', or 'missing', or the state that refuses, or the id of the job that holds its unique key now.

local function again(id)
  local job = read(id)
  if not job then return 'missing' end
  if not ended[job.state] or (ARGV[2] ~= '' and job.state ~= ARGV[2]) then return job.state end
  if job.unique then
    local holder = redis.call('HGET', unique, job.unique)
    local other = holder and holder ~= job.id and read(holder)
    if other and not ended[other.state] then return holder end
    redis.call('HSET', unique, job.unique, job.id)
  end
  leave(job)
  redis.call('HDEL', hash_of(job.id), 'losses', 'cancelled')
  enter(job, 'inactive', 'promote_at', int(now))
  return 'ok'
end

local replies = {}
for at = 3, #ARGV do replies[#replies + 1] = again(ARGV[at]) end
return replies
