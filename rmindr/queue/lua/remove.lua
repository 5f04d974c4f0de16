-- remove: any state, not leased -> (nothing)
-- Leave nothing of a job behind.
--
-- ARGV  1 now, ms or ''   2 id
-- Returns 'ok', or 'missing', or 'active' while a worker holds it.

local job = read(ARGV[2])
if not job then return 'missing' end
if job.state == 'active' and job.lease ~= '' then return 'active' end
erase(job)
return 'ok'
