-- create: (nothing) -> delayed | inactive
-- Make jobs, each whole or not at all. Where a living job holds the unique key, answer that one instead.
--
-- ARGV  1 now, ms or ''   2 the lowest id that may be given, less one
--       then per job: type, priority, delay ms or '', due ms or '', unique key or '', words as JSON or '', how many fields,
--       and each field: name, value
-- Returns now, and per job its id when made, or {id, hash} of the one that holds the key when not.

local function holder(key)
  local id = key ~= '' and redis.call('HGET', unique, key)
  local job = id and read(id)
  -- A job that a Kue worker ended, or that is gone, has not given its key back; it does not block it either.
  return job and job.state ~= 'complete' and job.state ~= 'failed' and id
end

local asked, many, at = {}, 0, 3
while at <= #ARGV do
  local ask = { unpack(ARGV, at, at + 5) }
  local width = 2 * tonumber(ARGV[at + 6])
  ask.fields = { unpack(ARGV, at + 7, at + 6 + width) }
  ask.holder = holder(ask[5])
  if not ask.holder then many = many + 1 end
  asked[#asked + 1] = ask
  at = at + 7 + width
end

local next_id, made, replies = new_ids(many, tonumber(ARGV[2])), {}, { int(now) }
for n, ask in ipairs(asked) do
  local key = ask[5]
  local holder = ask.holder or made[key]
  if holder then
    replies[n + 1] = { holder, redis.call('HGETALL', hash_of(holder)) }
  else
    local id = int(next_id)
    next_id = next_id + 1
    make(id, ask, ask.fields)
    if key ~= '' then made[key] = id end
    replies[n + 1] = id
  end
end
return replies
