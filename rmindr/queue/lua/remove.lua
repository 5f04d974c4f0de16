-- remove: any state, not leased -> (nothing)
-- Leave nothing of jobs behind.
--
-- ARGV  1 now, ms or ''   2 the state they must be in, or '' for any   then ids
-- Returns per job 'ok', or 'missing', or the state that refuses.

local replies = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local job = read(id)
  -- A fragment, or a ghost in the list of all jobs, can be removed like a job.
  local there = job or redis.call('EXISTS', hash_of(id)) == 1 or redis.call('ZSCORE', jobs, zid(id))
  local reply = 'ok'
  if not there then
    reply = 'missing'
  elseif job and (ARGV[2] ~= '' and job.state ~= ARGV[2] or job.state == 'active' and job.lease ~= '') then
    reply = job.state
  else
    job = job or { id = id, type = type_in_hash(id) }
    unlist(job)
    erase(job)
  end
  replies[#replies + 1] = reply
end
return replies
