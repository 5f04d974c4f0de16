-- complete: active -> complete, or gone when the job says so
-- The runs have succeeded.
--
-- ARGV  1 now, ms or ''   then per job: id, token, result as JSON or ''
-- Returns per job 'ok', 'missing' or 'lost'.

local replies, done = {}, 0
for at = 2, #ARGV, 3 do
  local id, token, result = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local job, refusal = held(id, token)
  if job then
    done = done + 1
    local duration = math.max(0, now - job.started_at)
    worked = (worked or 0) + duration
    count('complete')
    leave(job)
    publish(id, 'complete', (result ~= '' and result or 'null') .. ',null')
    if job.remove_on_complete then
      erase(job, '{"state":"complete","result":' .. (result ~= '' and result or 'null') .. '}')
    else
      if job.cancelled then redis.call('HDEL', hash_of(id), 'cancelled') end
      enter(job, 'complete', 'duration', int(duration), 'progress', '100',
        'attempts', int(math.min(job.attempts + 1, job.max_attempts)), unpack(result ~= '' and { 'result', result } or {}))
      free_unique(job)
    end
  end
  replies[#replies + 1] = refusal or 'ok'
end
flush()
prune('complete', 2 * done)
return replies
