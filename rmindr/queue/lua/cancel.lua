-- cancel: delayed | inactive -> failed
-- A job that has not started never runs. One that runs is told: its worker's bell rings, and it ends failed whatever comes.
--
-- ARGV  1 now, ms or ''   2 the state they must be in, or '' for any   then ids
-- Returns per job 'ok', or 'told' when it runs, or 'missing', or the state that refuses ('active' where a Kue holds it).

local function call_off(id)
  local job = read(id)
  if not job then return 'missing' end
  if ended[job.state] or (ARGV[2] ~= '' and job.state ~= ARGV[2]) then return job.state end
  if job.state == 'active' then
    local worker = string.match(job.lease, '^(%w+)%.')
    if not worker then return 'active' end
    redis.call('HDEL', hash_of(id), 'cancelled')
    redis.call('HSET', hash_of(id), 'cancelled', int(now))
    redis.call('LPUSH', prefix .. 'bell:' .. worker, id)
    redis.call('EXPIRE', prefix .. 'bell:' .. worker, 60)
    return 'told'
  end
  redis.call('HDEL', hash_of(id), 'error')
  leave(job)
  fail_for_good(job, 'Cancelled', 'Cancelled')
  return 'ok'
end

local replies = {}
for at = 3, #ARGV do replies[#replies + 1] = call_off(ARGV[at]) end
return replies
