-- renew: active -> active
-- Prolong the leases of one worker's jobs, all in one call.
--
-- ARGV  1 now, ms or ''   2 lease length, ms   then per job: id, token
-- Returns per job 'ok', 'cancelled' where it has been called off, 'missing' or 'lost'.

local replies = {}
for at = 3, #ARGV, 2 do
  local job, refusal = held(ARGV[at], ARGV[at + 1])
  if job then prolong(leases, zid(job.id), now + tonumber(ARGV[2])) end
  replies[#replies + 1] = refusal or job.cancelled and 'cancelled' or 'ok'
end
return replies
