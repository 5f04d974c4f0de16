-- rescue: active, lease lapsed -> inactive | failed
-- Take jobs back from workers that are gone. A lost run counts as an attempt; a job that loses too many workers fails.
--
-- A Redis that was frozen carries out on waking what it was sent before: then the living, too, have not prolonged their leases.
-- What lapsed only after this was asked is left to whoever asks next.
--
-- ARGV  1 now, ms or ''   2 how many jobs at most   3 how many losses a job may have   4 when it was asked, ms, or '' for now
-- Returns {now, µs; the instant when the next lease ends, ms or ''; {{id, state it is in now}, …}}

local function first_end() return redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2] or '' end

local asked_at = math.min(now, tonumber(ARGV[4]) or now)
local rescued, ends = {}, first_end()
local lapsed = {}
if ends ~= '' and tonumber(ends) <= asked_at then
  lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', int(asked_at), 'LIMIT', 0, ARGV[2])
end
for _, member in ipairs(lapsed) do
  local id = id_of(member)
  local job = read(id)
  redis.call('ZREM', leases, member)
  if not job or job.state ~= 'active' then
    -- A ghost, or ended by somebody who knows nothing of leases.
    redis.call('ZREM', states.active, member)
  end
  if not job then
    set_aside(id)
  elseif job.state == 'active' and job.lease == '' then
    -- A Kue worker has taken it over.
    redis.call('HDEL', hash_of(id), 'lease')
  elseif job.state == 'active' then
    rescued[#rescued + 1] = { id, lose(job, tonumber(ARGV[3])) }
  end
end
return { int(now_us), #lapsed > 0 and first_end() or ends, rescued }
