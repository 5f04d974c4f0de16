-- create: (nothing) -> delayed | inactive
-- Make jobs, each whole or not at all. Where a living job holds the unique key, answer that one instead.
--
-- ARGV  1 now, ms or ''   2 the lowest id that may be given, less one
--       then per job: type, data, priority, delay ms or '', due ms or '', max_attempts, backoff, ttl, removeOnComplete, unique
-- Returns per job {id, now} when made, {id, now, hash} of the one that holds the key when not.

local function holder(key)
  local id = key ~= '' and redis.call('HGET', unique, key)
  local job = id and read(id)
  -- A job that a Kue worker ended, or that is gone, has not given its key back; it does not block it either.
  return job and job.state ~= 'complete' and job.state ~= 'failed' and id
end

-- An id that was never given: not before Redis was emptied, nor before the counter alone was lost.
local function next_id()
  local id
  repeat
    id = redis.call('INCR', ids)
    if id <= tonumber(ARGV[2]) then
      id = tonumber(ARGV[2]) + 1
      redis.call('SET', ids, int(id))
    end
    id = int(id)
  until redis.call('EXISTS', hash_of(id)) == 0
  return id
end

local replies = {}
for at = 3, #ARGV, 10 do
  local type, data, priority, delay, due, max_attempts, backoff, ttl, remove_on_complete, key = unpack(ARGV, at, at + 9)
  local id = holder(key)
  if id then
    replies[#replies + 1] = { id, int(now), redis.call('HGETALL', hash_of(id)) }
  else
    id = next_id()
    local promote_at = due ~= '' and tonumber(due) or now + tonumber(delay ~= '' and delay or 0)
    local fields = { 'type', type, 'data', data, 'priority', priority, 'created_at', int(now),
      'promote_at', int(math.max(promote_at, now)), 'max_attempts', max_attempts }
    local function also(name, value)
      if value ~= '' then fields[#fields + 1], fields[#fields + 2] = name, value end
    end
    also('delay', promote_at > now and int(promote_at - now) or '')
    also('backoff', backoff)
    also('ttl', ttl)
    also('removeOnComplete', remove_on_complete)
    also('unique', key)
    redis.call('SADD', types, type)
    redis.call('ZADD', jobs, priority, zid(id))
    if key ~= '' then redis.call('HSET', unique, key, id) end
    enter({ id = id, type = type, priority = priority, promote_at = promote_at },
      promote_at > now and 'delayed' or 'inactive', unpack(fields))
    replies[#replies + 1] = { id, int(now) }
  end
end
return replies
