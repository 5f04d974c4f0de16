-- What every script shares: the key names, the clock, and the moves that transitions are made of.
--
-- Every script receives the same KEYS (keys.py). ARGV[1] is the instant in ms, or '' for the server's own clock, which
-- is what production uses. Hashes are written at once; what goes into and out of sets, tokens and events is gathered and
-- written by `flush` when the transition has returned (scripts.py), one command for each key however many jobs there are.
--
-- A script is not rolled back when it fails, and a full Redis refuses a script whose first write needs memory: so each
-- checks before it writes, and those that a running job needs free before they add.

local ids, types, jobs = KEYS[1], KEYS[2], KEYS[3]
local states = { delayed = KEYS[4], inactive = KEYS[5], active = KEYS[6], complete = KEYS[7], failed = KEYS[8] }
local ended = { complete = KEYS[9], failed = KEYS[10] }
local work_time, events, leases, unique, wake = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local paused, limits, retention, schedules, lexicon = KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20]
local kue_promotes, kue_expires = KEYS[21], KEYS[22]
local prefix = string.sub(ids, 1, -4)

-- Kue's expiry scan starts here, so scores of active jobs below it never expire.
local TTL_FLOOR = 100000
local LOG_LINES = 1000
-- A Kue's timer is about to move what it has read: come back after this many ms.
local KUE_ROUND = 10
-- How many arguments one command is given at most: Lua's stack ends at 8,000.
local CHUNK = 4000

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
local function wake_of(type) return prefix .. type .. ':wake' end
local function starts_of(type) return prefix .. type .. ':starts' end
local function word_of(word) return prefix .. word .. ':word' end
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

-- Gathering

local added, struck, tokens, messages, counted, freed, worked = {}, {}, {}, {}, {}, {}, nil

local function add(set, score, member)
  added[set] = added[set] or {}
  added[set][member] = score
end

local function strike(set, member)
  struck[set] = struck[set] or {}
  struck[set][member] = true
  if added[set] then added[set][member] = nil end
end

-- {"id":7,"event":"start","args":["start","email",null]}: `arguments` is JSON already, without its brackets.
local function publish(id, event, arguments)
  local args = arguments and ',' .. arguments or ''
  messages[#messages + 1] = '{"id":' .. id .. ',"event":"' .. event .. '","args":["' .. event .. '"' .. args .. ']}'
end

-- What the history tells, by minute and by day: runs that began, ended, and how late.
local function count(what) counted[what] = (counted[what] or 0) + 1 end

local function in_chunks(command, key, arguments, call)
  for at = 1, #arguments, CHUNK do
    (call or redis.call)(command, key, unpack(arguments, at, math.min(at + CHUNK - 1, #arguments)))
  end
end

-- How long a list of hints is; what is no list is somebody's mistake, and goes.
local function length_of(list)
  local length = redis.pcall('LLEN', list)
  if type(length) == 'number' then return length end
  redis.call('DEL', list)
  return 0
end

-- Somebody who sleeps on this list is told once; whoever looks next needs no second token, so the list never grows.
local function ring(list)
  if length_of(list) == 0 then
    redis.call('LPUSH', list, '1')
    redis.call('EXPIRE', list, 600)
  end
end

local function write_sets()
  for set, members in pairs(struck) do
    local list = {}
    for member in pairs(members) do list[#list + 1] = member end
    in_chunks('ZREM', set, list)
  end
  for set, scores in pairs(added) do
    local list = {}
    for member, score in pairs(scores) do list[#list + 1], list[#list + 2] = score, member end
    if #list > 0 then in_chunks('ZADD', set, list) end
  end
  -- Whoever sleeps until the next due job is told when an earlier one has come.
  if added[states.delayed] then
    local first = redis.call('ZRANGE', states.delayed, 0, 0)[1]
    if first and added[states.delayed][first] then ring(wake) end
  end
  added, struck = {}, {}
end

local function write_history()
  local minute = { prefix .. 'history:minute:' .. int(math.floor(now / 60000)), 4 * 3600 }
  local day = { prefix .. 'history:day:' .. int(math.floor(now / 86400000)), 100 * 86400 }
  for _, period in ipairs({ minute, day }) do
    -- What only tells of a transition must not stop it.
    for what, times in pairs(counted) do redis.pcall('HINCRBY', period[1], what, times) end
    redis.call('EXPIRE', period[1], period[2])
  end
  counted = {}
end

-- Write what was gathered: first what frees, so that a full Redis lets it be.
local function flush()
  write_sets()
  for type, times in pairs(tokens) do
    local list = {}
    for _ = 1, times do list[#list + 1] = '1' end
    -- A list that is none is put right by the next claim.
    in_chunks('LPUSH', tokens_of(type), list, redis.pcall)
  end
  -- A sum that cannot be counted on is no reason to lose a result.
  if worked then redis.pcall('INCRBY', work_time, int(worked)) end
  if next(counted) then write_history() end
  if next(freed) and redis.call('EXISTS', limits) == 1 then
    for type in pairs(freed) do
      if redis.call('HEXISTS', limits, type) == 1 then ring(wake_of(type)) end
    end
  end
  for _, message in ipairs(messages) do redis.call('PUBLISH', events, message) end
  tokens, messages, freed, worked = {}, {}, {}, nil
end

-- Reading

local FIELDS = { 'type', 'state', 'priority', 'attempts', 'max_attempts', 'ttl', 'lease', 'started_at', 'removeOnComplete',
  'removeOnFailure', 'unique', 'losses', 'promote_at', 'workerId', 'cancelled', 'keep' }

-- The job in a table of its fields, as transitions decide by it; nil where it is only a fragment of one.
local function job_of(id, fields)
  local priority = number(fields.priority)
  if id == '' or not (priority and fields.type and fields.state) then return nil end
  -- A Kue worker that takes the job over writes its own name and knows nothing of leases: then ours is at an end.
  local token, holder = string.match(fields.lease or '', '^([^@]*)@(.*)$')
  return {
    id = id, type = fields.type, state = fields.state, priority = string.format('%.17g', priority),
    attempts = number(fields.attempts) or 0, max_attempts = number(fields.max_attempts) or 1, ttl = number(fields.ttl) or 0,
    lease = holder and holder == fields.workerId and token or '', started_at = number(fields.started_at) or now,
    remove_on_complete = fields.removeOnComplete, remove_on_failure = fields.removeOnFailure, unique = fields.unique,
    losses = number(fields.losses) or 0, promote_at = number(fields.promote_at) or now, cancelled = fields.cancelled,
    keep = number(fields.keep),
  }
end

-- The job under this id; nil where there is none, only a fragment of one, or something else.
local function read(id)
  local values = redis.pcall('HMGET', hash_of(id), unpack(FIELDS))
  if values.err then return nil end
  local fields = {}
  for at, name in ipairs(FIELDS) do fields[name] = values[at] end
  return job_of(id, fields)
end

-- The job that `token` holds, or nil and the word of the refusal.
local function held(id, token)
  local job = read(id)
  if not job then return nil, 'missing' end
  if job.state ~= 'active' or job.lease ~= token or token == '' then return nil, 'lost' end
  return job
end

-- Moving

-- Take a job out of the state it is in.
local function leave(job)
  local member = zid(job.id)
  if job.state == 'active' then
    if job.ttl > 0 and (tonumber(redis.call('ZSCORE', states.active, member) or '') or now) < now then
      -- A Kue's timer may have called this run too long, and would fail it within a second, whosever it is by then.
      publish(job.id, 'ttl exceeded ack')
    end
    redis.call('HDEL', hash_of(job.id), 'lease')
    strike(leases, member)
    freed[job.type] = true
  end
  if ended[job.state] then strike(ended[job.state], member) end
  if states[job.state] then strike(states[job.state], member) end
  strike(of_type(job.type, job.state), member)
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
  add(states[state], score, member)
  add(of_type(job.type, state), job.priority, member)
  if ended[state] then add(ended[state], int(now), member) end
  job.state = state
  if state == 'inactive' then
    tokens[job.type] = (tokens[job.type] or 0) + 1
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
    strike(set, member)
    strike(of_type(job.type, state), member)
    if ended[state] then strike(ended[state], member) end
  end
  strike(jobs, member)
  strike(leases, member)
end

-- Take a job's words out of the index, where it has been indexed.
local function unindex(id)
  local text = redis.call('EXISTS', lexicon) == 1 and redis.pcall('HGET', hash_of(id), 'words')
  if not text or text.err then return end
  redis.call('HDEL', hash_of(id), 'words')
  local readable, words = pcall(cjson.decode, text)
  for _, word in ipairs(readable and type(words) == 'table' and words or {}) do
    if type(word) == 'string' then
      redis.call('SREM', word_of(word), id)
      if redis.call('EXISTS', word_of(word)) == 0 then redis.call('ZREM', lexicon, word) end
    end
  end
end

-- How a job that stands as ended has ended, where that is to be known when the job is gone.
local function outcome_of(job)
  if not job.keep or not ended[job.state] then return nil end
  local result, error = unpack(redis.call('HMGET', hash_of(job.id), 'result', 'error'))
  if job.state == 'complete' then return '{"state":"complete","result":' .. (result or 'null') .. '}' end
  return '{"state":"failed","error":' .. json(error) .. '}'
end

-- Nothing of a job stays behind that has left its state, or was in none; only, for a while, how it ended, where somebody
-- waits for that. `outcome`: where its hash does not say so yet.
local function erase(job, outcome)
  outcome = outcome or outcome_of(job)
  strike(jobs, zid(job.id))
  free_unique(job)
  unindex(job.id)
  redis.call('DEL', hash_of(job.id), log_of(job.id))
  if outcome and job.keep then redis.call('SET', prefix .. 'outcome:' .. job.id, outcome, 'PX', int(job.keep)) end
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
  add(jobs, '0', zid(id))
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
  local due = redis.call('ZRANGEBYSCORE', states.delayed, '-inf', int(now), 'LIMIT', 0, limit)
  if #due > 0 then in_chunks('ZREM', states.delayed, due) end
  for _, member in ipairs(due) do
    local id = id_of(member)
    local job = read(id)
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

-- Remove ended jobs beyond the count and the age that are kept, oldest end first, a few at a time; answers how many.
local function prune(state, most)
  if most < 1 then return 0 end
  local kept, age = string.match(redis.call('HGET', retention, state) or '', '^(%d*) (%d*)$')
  local over = {}
  if kept and kept ~= '' then
    local beyond = redis.call('ZCARD', ended[state]) - tonumber(kept)
    if beyond > 0 then over = redis.call('ZRANGE', ended[state], 0, math.min(beyond, most) - 1) end
  end
  if #over == 0 and age and age ~= '' then
    over = redis.call('ZRANGEBYSCORE', ended[state], '-inf', int(now - tonumber(age)), 'LIMIT', 0, most)
  end
  for _, member in ipairs(over) do
    local id = id_of(member)
    local job = read(id)
    strike(ended[state], member)
    if job and job.state == state then
      leave(job)
      erase(job)
    elseif not job then
      set_aside(id)
    end
  end
  return #over
end

-- Note a job's words, so that a search finds it: `words` is a JSON array, or ''.
local function index(id, words)
  if words == '' then return end
  for _, word in ipairs(cjson.decode(words)) do
    redis.call('SADD', word_of(word), id)
    redis.call('ZADD', lexicon, '0', word)
  end
  redis.call('HSET', hash_of(id), 'words', words)
end

-- This many ids that were never given, not before Redis was emptied, nor before the counter alone was lost; the first one.
local function new_ids(many, lowest)
  while many > 0 do
    local last = redis.call('INCRBY', ids, int(many))
    if last - many < lowest then
      last = lowest + many
      redis.call('SET', ids, int(last))
    end
    local hashes = {}
    for id = last - many + 1, last do hashes[#hashes + 1] = hash_of(int(id)) end
    if redis.call('EXISTS', unpack(hashes)) == 0 then return last - many + 1 end
  end
end

-- A new job under an id of its own. `ask` is {type, priority, delay ms or '', due ms or '', unique key or '', words or ''};
-- `fields` go into the hash as they are.
local function make(id, ask, fields)
  local type, priority, delay, due, key, words = unpack(ask)
  local promote_at = due ~= '' and tonumber(due) or now + tonumber(delay ~= '' and delay or 0)
  local function also(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  also('type', type)
  also('priority', priority)
  also('created_at', int(now))
  also('promote_at', int(math.max(promote_at, now)))
  if promote_at > now then also('delay', int(promote_at - now)) end
  if key ~= '' then
    also('unique', key)
    redis.call('HSET', unique, key, id)
  end
  redis.call('SADD', types, type)
  add(jobs, priority, zid(id))
  enter({ id = id, type = type, priority = priority, promote_at = promote_at },
    promote_at > now and 'delayed' or 'inactive', unpack(fields))
  index(id, words)
  count('created')
end

-- A job that has left its state has failed for good: it stays so, or is gone when it says so. Fields go with it.
local function fail_for_good(job, message, text, ...)
  count('failed')
  free_unique(job)
  publish(job.id, 'failed', json(message) .. ',null')
  if job.remove_on_failure then
    erase(job, '{"state":"failed","error":' .. json(text) .. '}')
  else
    enter(job, 'failed', 'error', text, 'failed_at', int(now), ...)
  end
  return 'failed'
end

-- A run has ended without success: count it, say so, and let the job wait for the next, or fail.
-- `wait`: nil for no further run, else ms to wait before it.
local function end_run(job, message, text, wait)
  local id, attempts = job.id, math.min(job.attempts + 1, job.max_attempts)
  leave(job)
  append_log(id, string.match(text, '^[^\n]*'))
  publish(id, 'error', json(text))
  if not wait or attempts >= job.max_attempts or job.cancelled then
    return fail_for_good(job, message, text, 'attempts', int(attempts))
  end
  count('failed attempt')
  local fields = { 'error', text, 'failed_at', int(now), 'attempts', int(attempts) }
  if wait > 0 then
    job.promote_at = now + wait
    for _, value in ipairs({ 'delay', int(wait), 'promote_at', int(job.promote_at) }) do fields[#fields + 1] = value end
  end
  enter(job, wait > 0 and 'delayed' or 'inactive', unpack(fields))
  publish(id, 'failed attempt', json(message) .. ',' .. int(attempts))
  return job.state
end

-- A run is lost, as its worker is gone: that is an attempt, and a job that loses too many workers fails.
local function lose(job, allowed)
  job.losses = job.losses + 1
  redis.call('HSET', hash_of(job.id), 'losses', int(job.losses))
  local lost = 'worker lost (' .. int(job.losses) .. ' of ' .. int(allowed) .. ')'
  return end_run(job, lost, lost, job.losses < allowed and 0 or nil)
end
