-- release: active -> inactive | delayed
-- Give jobs back unfinished, now or for later: not an attempt, not a failure. One that was cancelled meanwhile fails.
--
-- ARGV  1 now, ms or ''   then per job: id, token, ms to wait
-- Returns per job the state it is in now, or 'missing' or 'lost'.

local replies = {}
for at = 2, #ARGV, 3 do
  local job, refusal = held(ARGV[at], ARGV[at + 1])
  if job and job.cancelled then
    end_run(job, 'Cancelled', 'Cancelled', nil)
  elseif job then
    local wait = tonumber(ARGV[at + 2])
    leave(job)
    job.promote_at = now + wait
    if wait > 0 then
      enter(job, 'delayed', 'promote_at', int(job.promote_at))
    else
      enter(job, 'inactive')
    end
  end
  replies[#replies + 1] = refusal or job.state
end
return replies
