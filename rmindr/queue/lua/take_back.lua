-- take_back: active, a Kue's -> inactive | failed
-- A person says that the Kue which held these jobs is gone: it has left no lease by which anybody else could know. A lost run
-- counts as in rescue. What has come into other hands since that person looked is left alone.
--
-- ARGV  1 now, ms or ''   2 how many losses a job may have   then per job: id, its `workerId` as it was seen, or '' for any
-- Returns per job {'ok', state it is in now}, or {'missing'}, {'leased'}, {'others'}, {the state that refuses}.

local function take_back(id, holder)
  local job = read(id)
  if not job then return { 'missing' } end
  if job.state ~= 'active' then return { job.state } end
  if job.lease ~= '' then return { 'leased' } end
  if holder ~= '' and redis.call('HGET', hash_of(id), 'workerId') ~= holder then return { 'others' } end
  return { 'ok', lose(job, tonumber(ARGV[2])) }
end

local replies = {}
for at = 3, #ARGV, 2 do replies[#replies + 1] = take_back(ARGV[at], ARGV[at + 1]) end
return replies
