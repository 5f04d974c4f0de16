-- claim: inactive -> active
-- Lease the most urgent waiting jobs to one worker; what is due is promoted first.
--
-- ARGV  1 now, ms or ''   2 lease token   3 lease length, ms   4 worker's name   5 how many to promote at most
--       6 '1' when the answer to this token was lost: what it took is answered again
--       then per type: type, how many at most
-- Returns {now, µs; the instant when the next delayed job is due, ms or ''; {{id, hash}, …}}

local token, lease, worker = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local taken = {}

-- As many wake-up tokens as waiting jobs: a Kue worker sleeps until it finds one, and more would wake it for nothing.
local function even_tokens(type)
  local tokens, waiting = tokens_of(type), redis.call('ZCARD', of_type(type, 'inactive'))
  local missing = waiting - redis.call('LLEN', tokens)
  if waiting == 0 then redis.call('DEL', tokens) elseif missing < 0 then redis.call('LTRIM', tokens, 0, waiting - 1) end
  -- A list that somebody emptied fills up over several claims, so that none of them is long.
  for _ = 1, math.min(missing, 100) do redis.call('LPUSH', tokens, '1') end
end

local function take(member, type)
  -- Out of both sets whatever it turns out to be: a ghost must not come up again.
  redis.call('ZREM', of_type(type, 'inactive'), member)
  redis.call('ZREM', states.inactive, member)
  local id = id_of(member)
  local job = read(id)
  if not job then return set_aside(id, type) end
  if job.state ~= 'inactive' then return end
  if job.type ~= type then
    -- Listed under a type that is not its own: where it belongs, those who work that type find it.
    leave(job)
    return enter(job, 'inactive')
  end
  local hash = redis.call('HGETALL', hash_of(id))
  local holder = worker .. ':' .. job.type .. ':1'
  enter(job, 'active', 'started_at', int(now), 'workerId', holder, 'lease', token .. '@' .. holder)
  redis.call('ZADD', leases, int(now + lease), member)
  publish(id, 'start', json(job.type) .. ',null')
  taken[#taken + 1] = { id, hash }
end

local known = {}
if ARGV[6] == '1' then
  for _, member in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    local job = held(id_of(member), token)
    if job then
      -- Its run begins only now.
      prolong(leases, member, now + lease)
      if job.ttl > 0 then prolong(states.active, member, now + job.ttl) end
      known[job.type] = (known[job.type] or 0) + 1
      taken[#taken + 1] = { job.id, redis.call('HGETALL', hash_of(job.id)) }
    end
  end
end

local head = redis.call('ZRANGE', states.delayed, 0, 0, 'WITHSCORES')
if head[1] and tonumber(head[2]) <= now then
  if promote_due(ARGV[5]) then
    head = redis.call('ZRANGE', states.delayed, 0, 0, 'WITHSCORES')
  else
    head[2] = int(now + KUE_ROUND)
  end
end

for at = 7, #ARGV, 2 do
  local type = ARGV[at]
  local wanted = math.max(0, tonumber(ARGV[at + 1]) - (known[type] or 0))
  local members = redis.call('ZRANGE', of_type(type, 'inactive'), 0, math.max(wanted, 1) - 1)
  for index = 1, math.min(wanted, #members) do take(members[index], type) end
  if #members > 0 then even_tokens(type) end
end

return { int(now_us), head[2] or '', taken }
