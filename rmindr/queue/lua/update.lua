-- update: delayed | inactive -> delayed | inactive
-- Change what is asked of jobs before they run. A new delay counts from now; a delay of nothing means run now.
--
-- ARGV  1 now, ms or ''   then per job: id, data as JSON or '', words as JSON or '', priority or '', delay, ms or '',
--       due, ms or '', how many fields, and each field: name, value, or '' where it is to be gone
-- Returns per job the state it is in now, or 'missing', or the state that refuses.

local function change(terms, id, data, words, priority, delay, due)
  local job = read(id)
  if not job then return 'missing' end
  if job.state ~= 'delayed' and job.state ~= 'inactive' then return job.state end

  local fields = { 'updated_at', int(now) }
  if data ~= '' then
    also(fields, 'data', data)
    unindex(id)
    index(id, words)
  end
  if priority ~= '' then
    also(fields, 'priority', priority)
    job.priority = priority
  end
  for n = 1, #terms, 2 do
    if terms[n + 1] == '' then redis.call('HDEL', hash_of(id), terms[n]) else also(fields, terms[n], terms[n + 1]) end
  end
  local target = job.state
  if delay ~= '' or due ~= '' then
    job.promote_at = due ~= '' and tonumber(due) or now + tonumber(delay)
    target = job.promote_at > now and 'delayed' or 'inactive'
    also(fields, 'delay', int(math.max(0, job.promote_at - now)))
    also(fields, 'promote_at', int(math.max(job.promote_at, now)))
  end

  add(jobs, job.priority, zid(id))
  if target == 'inactive' and job.state == 'inactive' then
    -- It waits already and has its token: another enqueue would wake somebody for nothing.
    -- XX: a member that is missing may be in the hands of a Kue worker, which takes it out before it says so.
    redis.call('ZADD', states.inactive, 'XX', job.priority, zid(id))
    redis.call('ZADD', of_type(job.type, 'inactive'), 'XX', job.priority, zid(id))
    redis.call('HSET', hash_of(id), unpack(fields))
  else
    leave(job)
    enter(job, target, unpack(fields))
  end
  return target
end

local replies, at = {}, 2
while at <= #ARGV do
  local last = at + 6 + 2 * tonumber(ARGV[at + 6])
  replies[#replies + 1] = change({ unpack(ARGV, at + 7, last) }, unpack(ARGV, at, at + 5))
  at = last + 1
end
return replies
