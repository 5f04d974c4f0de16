-- expire: active, ttl over -> as fail
-- End runs of ours that have outlived their job's ttl. Runs without a lease are a Kue worker's, which ends its own.
--
-- ARGV  1 now, ms or ''   then per job: id, attempts when it was read, ms to wait
-- Returns per job the state it is in now, or 'missing', or 'not over' where it has been ended or prolonged meanwhile.

local replies = {}
-- What a Kue's timer has read, it is about to fail by itself.
local kue_is_at_it = redis.call('EXISTS', kue_expires) == 1
for at = 2, #ARGV, 3 do
  local job, reply = read(ARGV[at]), 'not over'
  local ends = tonumber(redis.call('ZSCORE', states.active, zid(ARGV[at])) or 0)
  if not job then
    reply = 'missing'
    set_aside(ARGV[at])
  elseif job.state == 'active' and job.lease ~= '' and job.attempts == tonumber(ARGV[at + 1])
    and ends >= TTL_FLOOR and ends <= now and not kue_is_at_it then
    publish(job.id, 'ttl exceeded')
    reply = end_run(job, 'TTL exceeded', 'TTL exceeded', tonumber(ARGV[at + 2]))
  end
  replies[#replies + 1] = reply
end
return replies
