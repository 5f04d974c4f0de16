-- claim: inactive -> active
-- Lease the most urgent waiting jobs to one worker; what is due is promoted first.
--
-- ARGV  1 now, ms or ''   2 lease token   3 lease length, ms   4 worker's name   5 how many to promote at most
--       6 '1' when the answer to this token was lost: what it took is answered again
--       then per type: type, how many at most
-- Returns {now, µs; the instant to look again, ms or ''; {{id, hash}, …}; {types that may not be taken at present, …};
--         the instant of the next schedule, ms or ''}

local token, lease, worker = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local taken, barred = {}, {}
local look_again = math.huge

-- How late runs begin, in classes up to these many ms.
local CLASSES = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 300000, 3600000 }

local function lateness_class(late)
  for _, class in ipairs(CLASSES) do
    if late <= class then return 'late ' .. class end
  end
  return 'late more'
end

-- As many wake-up tokens as waiting jobs: a Kue worker sleeps until it finds one, and more would wake it for nothing.
local function even_tokens(type)
  local list, waiting = tokens_of(type), redis.call('ZCARD', of_type(type, 'inactive'))
  local missing = waiting - length_of(list)
  if waiting == 0 then redis.call('DEL', list) elseif missing < 0 then redis.call('LTRIM', list, 0, waiting - 1) end
  -- A list that somebody emptied fills up over several claims, so that none of them is long.
  for _ = 1, math.min(missing, 100) do redis.call('LPUSH', list, '1') end
  return waiting
end

local function fields_of(id)
  local pairs = redis.pcall('HGETALL', hash_of(id))
  local fields = {}
  if not pairs.err then
    for at = 1, #pairs, 2 do fields[pairs[at]] = pairs[at + 1] end
  end
  return fields, pairs
end

local function take(member, type)
  local id = id_of(member)
  local fields, hash = fields_of(id)
  local job = job_of(id, fields)
  if not job then return set_aside(id, type) end
  if job.state ~= 'inactive' then return end
  if job.type ~= type then
    -- Listed under a type that is not its own: where it belongs, those who work that type find it.
    leave(job)
    return enter(job, 'inactive')
  end
  if fields.failed_at or fields.duration then
    -- It has ended before, and a Kue that started it again knows nothing of this list.
    strike(ended.complete, member)
    strike(ended.failed, member)
  end
  local holder = worker .. ':' .. type .. ':1'
  enter(job, 'active', 'started_at', now, 'workerId', holder, 'lease', token .. '@' .. holder)
  add(leases, now + lease, member)
  publish(id, 'start', json(type) .. ',null')
  -- One that has failed is due again since then.
  count(lateness_class(now - math.max(job.promote_at, number(fields.failed_at) or 0)))
  taken[#taken + 1] = { id, hash }
end

local function oldest_start(type)
  return tonumber(redis.call('LINDEX', starts_of(type), -1) or '') or math.huge
end

-- How many of this type its limits allow now, and whether there are limits: {rate, period ms, concurrency}, each may be ''.
local function allowed(type, rule)
  local rate, period, concurrency = string.match(rule or '', '^(%d*) (%d*) (%d*)$')
  local most = math.huge
  if concurrency and concurrency ~= '' then most = tonumber(concurrency) - redis.call('ZCARD', of_type(type, 'active')) end
  if rate and rate ~= '' then
    local starts = starts_of(type)
    length_of(starts)
    -- Newest first; those that are older than the period have lost their weight.
    while oldest_start(type) <= now - tonumber(period) do redis.call('RPOP', starts) end
    local left = tonumber(rate) - redis.call('LLEN', starts)
    most = math.min(most, left)
  end
  return math.max(0, most), rate ~= nil
end

local function note_starts(type, rule, many)
  local rate, period = string.match(rule, '^(%d+) (%d+) ')
  if not rate then return end
  for _ = 1, many do redis.call('LPUSH', starts_of(type), int(now)) end
  redis.call('LTRIM', starts_of(type), 0, tonumber(rate) - 1)
  redis.call('PEXPIRE', starts_of(type), period)
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
    flush()
    head = redis.call('ZRANGE', states.delayed, 0, 0, 'WITHSCORES')
  else
    head[2] = int(now + KUE_ROUND)
  end
end
if head[1] then look_again = math.min(look_again, tonumber(head[2])) end

local wanted_types = {}
for at = 7, #ARGV, 2 do wanted_types[#wanted_types + 1] = ARGV[at] end
local pauses, rules = {}, {}
if #wanted_types > 0 and redis.call('EXISTS', paused, limits) > 0 then
  -- The empty name stands for all types.
  pauses = redis.call('SMISMEMBER', paused, '', unpack(wanted_types))
  rules = redis.call('HMGET', limits, unpack(wanted_types))
end

local waiting_types = {}
for n, type in ipairs(wanted_types) do
  rules[type] = rules[n]
  local asked = math.max(0, tonumber(ARGV[6 + 2 * n]) - (known[type] or 0))
  if pauses[1] == 1 or pauses[n + 1] == 1 then
    barred[#barred + 1] = type
  else
    local most, limited = allowed(type, rules[n])
    local wanted = math.min(asked, most)
    local before = #taken
    local members = redis.call('ZRANGE', of_type(type, 'inactive'), 0, math.max(wanted, 1) - 1)
    if wanted > 0 and #members > 0 then
      -- Out of both sets whatever they turn out to be: a ghost must not come up again.
      in_chunks('ZREM', of_type(type, 'inactive'), members)
      in_chunks('ZREM', states.inactive, members)
      for _, member in ipairs(members) do take(member, type) end
    end
    if limited then note_starts(type, rules[n], #taken - before) end
    if #members > 0 then waiting_types[#waiting_types + 1] = { type, limited and most, #taken - before, asked } end
  end
end
flush()

for _, each in ipairs(waiting_types) do
  local type, most, took, asked = unpack(each)
  local waiting = even_tokens(type)
  if most and waiting > 0 and took >= most and asked >= most then
    -- Tokens would wake this worker again and again for nothing.
    barred[#barred + 1] = type
    local period = string.match(rules[type], '^%d+ (%d+) ')
    if period then look_again = math.min(look_again, oldest_start(type) + tonumber(period)) end
  elseif most and waiting > 0 then
    -- Another worker may sleep because of a limit that has room again.
    ring(wake_of(type))
  end
end

local schedule = redis.call('ZRANGE', schedules, 0, 0, 'WITHSCORES')[2] or ''
return { int(now_us), look_again < math.huge and int(look_again) or '', taken, barred, schedule }
