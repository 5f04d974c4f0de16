-- complete: active -> complete, or gone when the job says so
-- The runs have succeeded.
--
-- ARGV  1 now, ms or ''   then per job: id, token, result as JSON or ''
-- Returns per job 'ok', 'missing' or 'lost'.

local replies = {}
for at = 2, #ARGV, 3 do
  local id, token, result = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local job, refusal = held(id, token)
  if job then
    local duration = int(math.max(0, now - job.started_at))
    leave(job)
    -- A sum that cannot be counted on is no reason to lose a result.
    redis.pcall('INCRBY', work_time, duration)
    if not job.remove_on_complete then
      redis.call('HDEL', hash_of(id), 'lease')
      enter(job, 'complete', 'duration', duration, 'progress', '100',
        'attempts', int(math.min(job.attempts + 1, job.max_attempts)), unpack(result ~= '' and { 'result', result } or {}))
      free_unique(job)
    end
    publish(id, 'complete', (result ~= '' and result or 'null') .. ',null')
    if job.remove_on_complete then erase(job) end
  end
  replies[#replies + 1] = refusal or 'ok'
end
return replies
