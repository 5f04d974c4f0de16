-- progress: active -> active
-- Say how far a run is; a job with a ttl gets its whole ttl again.
--
-- ARGV  1 now, ms or ''   then per job: id, token, percent, data as JSON or ''
-- Returns per job 'ok', 'missing' or 'lost'.

local replies = {}
for at = 2, #ARGV, 4 do
  local id, token, percent, data = unpack(ARGV, at, at + 3)
  local job, refusal = held(id, token)
  if job then
    -- Out first: a full Redis lets a script go on that has begun by freeing.
    redis.call('HDEL', hash_of(id), 'progress')
    redis.call('HSET', hash_of(id), 'progress', percent, 'updated_at', int(now))
    if data ~= '' then redis.call('HSET', hash_of(id), 'progress_data', data) end
    if job.ttl > 0 then prolong(states.active, zid(id), now + job.ttl) end
    publish(id, 'progress', percent .. ',' .. (data ~= '' and data or 'null'))
  end
  replies[#replies + 1] = refusal or 'ok'
end
return replies
