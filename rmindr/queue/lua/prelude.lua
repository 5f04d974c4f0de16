-- What every script shares: the key names, the clock, and the moves that transitions are made of.
--
-- Every script receives the same KEYS (keys.py). ARGV[1] is the instant in ms, or '' for the server's own clock, which
-- is what production uses. A script is not rolled back when it fails, and a full Redis refuses a script whose first write
-- needs memory: so each checks before it writes, and those that a running job needs free before they add.

local ids, types, jobs = KEYS[1], KEYS[2], KEYS[3]
local states = { delayed = KEYS[4], inactive = KEYS[5], active = KEYS[6], complete = KEYS[7], failed = KEYS[8] }
local work_time, events, leases, unique, wake = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local kue_promotes, kue_expires = KEYS[14], KEYS[15]
local prefix = string.sub(ids, 1, -4)

-- Kue's expiry scan starts here, so scores of active jobs below it never expire.
local TTL_FLOOR = 100000
local LOG_LINES = 1000
-- A Kue's timer is about to move what it has read: come back after this many ms.
local KUE_ROUND = 10

local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) * 1000 end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local now_us = clock()
local now = math.floor(now_us / 1000)

local function int(number) return string.format('%.0f', number) end
local function hash_of(id) return prefix .. 'job:' .. id end
local function log_of(id) return prefix .. 'job:' .. id .. ':log' end
local function of_type(type, state) return prefix .. 'jobs:' .. type .. ':' .. state end
local function tokens_of(type) return prefix .. type .. ':jobs' end
local function zid(id) return string.format('%02d|%s', #id, id) end
local function json(text) return text and cjson.encode(text) or 'null' end

-- The id behind a member; '' where it is none, e.g. written by hand: ids are plain positive integers.
local function id_of(member)
  local id = string.match(member, '|(.*)$') or member
  return #id <= 16 and string.match(id, '^[1-9]%d*$') or ''
end

-- A number out of a hash that anybody may have written to; nil for what Redis or JavaScript could not count with.
local function number(text)
  local value = tonumber(text or '')
  return value and value > -2 ^ 53 and value < 2 ^ 53 and value or nil
end

-- {"id":7,"event":"start","args":["start","email",null]}: `arguments` is JSON already, without its brackets.
local function publish(id, event, arguments)
  local args = arguments and ',' .. arguments or ''
  redis.call('PUBLISH', events, '{"id":' .. id .. ',"event":"' .. event .. '","args":["' .. event .. '"' .. args .. ']}')
end

-- The job's fields that transitions decide by; nil where there is no job, only a fragment of one, or something else.
local function read(id)
  local values = redis.pcall('HMGET', hash_of(id), 'type', 'state', 'priority', 'attempts', 'max_attempts', 'ttl',
    'lease', 'started_at', 'removeOnComplete', 'unique', 'losses', 'promote_at', 'workerId')
  local priority = not values.err and number(values[3])
  if id == '' or not (priority and values[1] and values[2]) then return nil end
  -- A Kue worker that takes the job over writes its own name and knows nothing of leases: then ours is at an end.
  local token, holder = string.match(values[7] or '', '^([^@]*)@(.*)$')
  return {
    id = id, type = values[1], state = values[2], priority = string.format('%.17g', priority),
    attempts = number(values[4]) or 0, max_attempts = number(values[5]) or 1, ttl = number(values[6]) or 0,
    lease = holder and holder == values[13] and token or '', started_at = number(values[8]) or now,
    remove_on_complete = values[9], unique = values[10], losses = number(values[11]) or 0,
    promote_at = number(values[12]) or now,
  }
end

-- The job that `token` holds, or nil and the word of the refusal.
local function held(id, token)
  local job = read(id)
  if not job then return nil, 'missing' end
  if job.state ~= 'active' or job.lease ~= token or token == '' then return nil, 'lost' end
  return job
end

-- Tell whoever sleeps until the next due job, when this one is due before it.
local function nudge_if_first(member)
  -- One token is enough for whoever looks at the clock next, so the list never grows.
  if redis.call('ZRANGE', states.delayed, 0, 0)[1] == member and redis.call('LLEN', wake) == 0 then
    redis.call('LPUSH', wake, '1')
  end
end

-- Take a job out of the state it is in.
local function leave(job)
  local member = zid(job.id)
  if job.state == 'active' and job.ttl > 0 and (tonumber(redis.call('ZSCORE', states.active, member) or '') or now) < now then
    -- A Kue's timer may have called this run too long, and would fail it within a second, whosever it is by then.
    publish(job.id, 'ttl exceeded ack')
  end
  if states[job.state] then redis.call('ZREM', states[job.state], member) end
  redis.call('ZREM', of_type(job.type, job.state), member)
  if job.state == 'active' then redis.call('ZREM', leases, member) end
end

-- Put a job that has left its state into another, with the score that state keeps, and any fields that go with it.
local function enter(job, state, ...)
  local member, score = zid(job.id), job.priority
  if state == 'delayed' then
    score = int(job.promote_at)
  elseif state == 'active' then
    -- 0 less: the negative of nothing would be written as -0.
    score = job.ttl > 0 and int(now + job.ttl) or string.format('%.17g', 0 - math.abs(tonumber(job.priority)))
  end
  redis.call('HSET', hash_of(job.id), 'state', state, 'updated_at', int(now), ...)
  redis.call('ZADD', states[state], score, member)
  redis.call('ZADD', of_type(job.type, state), job.priority, member)
  job.state = state
  if state == 'delayed' then
    nudge_if_first(member)
  elseif state == 'inactive' then
    redis.call('LPUSH', tokens_of(job.type), '1')
    publish(job.id, 'enqueue', json(job.type))
  end
end

-- Move a member of a set of instants to a later one. Out and in again: a full Redis would refuse the mere change.
local function prolong(set, member, instant)
  redis.call('ZREM', set, member)
  redis.call('ZADD', set, int(instant), member)
end

-- Give the unique key back, if this job is the one that holds it.
local function free_unique(job)
  if job.unique and redis.call('HGET', unique, job.unique) == job.id then redis.call('HDEL', unique, job.unique) end
end

-- Take a job out of all sets, whichever a stale hand may have left it in.
local function unlist(job)
  local member = zid(job.id)
  for state, set in pairs(states) do
    redis.call('ZREM', set, member)
    redis.call('ZREM', of_type(job.type, state), member)
  end
  redis.call('ZREM', jobs, member)
  redis.call('ZREM', leases, member)
end

-- Nothing of the job stays behind.
local function erase(job)
  unlist(job)
  free_unique(job)
  redis.call('DEL', hash_of(job.id), log_of(job.id))
  publish(job.id, 'remove', json(job.type))
end

-- The type that the hash itself names; '' where there is none.
local function type_in_hash(id)
  local type = redis.pcall('HGET', hash_of(id), 'type')
  return type and not type.err and type or ''
end

-- What `read` cannot read is set aside as failed, once, for a person to look at; where there is no hash, nothing is left.
-- `type`: where it was found, for a hash that does not say.
local function set_aside(id, type)
  local own = type_in_hash(id)
  type = own ~= '' and own or type or ''
  unlist({ id = id, type = type })
  if type == '' or redis.call('TYPE', hash_of(id)).ok ~= 'hash' then return end
  redis.call('HSET', hash_of(id), 'type', type, 'priority', '0', 'error', 'unreadable: a job needs type, state and priority')
  redis.call('HSETNX', hash_of(id), 'created_at', int(now))
  redis.call('HSETNX', hash_of(id), 'data', '{}')
  redis.call('ZADD', jobs, '0', zid(id))
  enter({ id = id, type = type, priority = '0' }, 'failed', 'failed_at', int(now))
end

-- A log that is no list is somebody else's doing, and no reason to lose a run.
local function append_log(id, line)
  redis.pcall('LTRIM', log_of(id), 1 - LOG_LINES, -1)
  redis.pcall('RPUSH', log_of(id), line)
end

-- nil while a Kue does the same: what it has read before we came, it would move again under our hands.
local function promote_due(limit)
  if redis.call('EXISTS', kue_promotes) == 1 then return nil end
  local promoted = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', states.delayed, '-inf', int(now), 'LIMIT', 0, limit)) do
    local id = id_of(member)
    local job = read(id)
    redis.call('ZREM', states.delayed, member)
    if not job then
      set_aside(id)
    elseif job.state == 'delayed' then
      publish(job.id, 'promotion')
      leave(job)
      enter(job, 'inactive')
      promoted = promoted + 1
    end
  end
  return promoted
end

-- A run has ended without success: count it, say so, and let the job wait for the next, or fail.
-- `wait`: nil for no further run, else ms to wait before it.
local function end_run(job, message, text, wait)
  local id, attempts = job.id, math.min(job.attempts + 1, job.max_attempts)
  leave(job)
  redis.call('HDEL', hash_of(id), 'lease')
  append_log(id, string.match(text, '^[^\n]*'))
  local fields = { 'error', text, 'failed_at', int(now), 'attempts', int(attempts) }
  publish(id, 'error', json(text))
  if not wait or attempts >= job.max_attempts then
    enter(job, 'failed', unpack(fields))
    free_unique(job)
    publish(id, 'failed', json(message) .. ',null')
    return 'failed'
  end
  if wait > 0 then
    job.promote_at = now + wait
    for _, value in ipairs({ 'delay', int(wait), 'promote_at', int(job.promote_at) }) do fields[#fields + 1] = value end
  end
  enter(job, wait > 0 and 'delayed' or 'inactive', unpack(fields))
  publish(id, 'failed attempt', json(message) .. ',' .. int(attempts))
  return job.state
end
