-- remove: any state, not leased -> (nothing)
-- Leave nothing of a job behind.
--
-- ARGV  1 now, ms or ''   2 id
-- Returns 'ok', or 'missing', or 'active' while a worker holds it.

local id = ARGV[2]
local job = read(id)
if not job then
  -- A fragment, or a ghost in the list of all jobs, can be removed like a job.
  if redis.call('EXISTS', hash_of(id)) == 0 and not redis.call('ZSCORE', jobs, zid(id)) then return 'missing' end
  job = { id = id, type = type_in_hash(id) }
end
if job.state == 'active' and job.lease ~= '' then return 'active' end
erase(job)
return 'ok'
