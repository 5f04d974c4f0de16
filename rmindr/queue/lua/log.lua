-- log: active -> active
-- Write lines into the job's own log, which keeps the last thousand.
--
-- ARGV  1 now, ms or ''   then per line: id, token, line
-- Returns per line 'ok', 'missing' or 'lost'.

local replies = {}
for at = 2, #ARGV, 3 do
  local job, refusal = held(ARGV[at], ARGV[at + 1])
  if job then
    append_log(job.id, ARGV[at + 2])
    redis.call('HSET', hash_of(job.id), 'updated_at', int(now))
  end
  replies[#replies + 1] = refusal or 'ok'
end
return replies
