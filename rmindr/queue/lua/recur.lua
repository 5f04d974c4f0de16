-- recur: (nothing) -> inactive
-- The instant of a schedule has come: make its job, and move the schedule on to the next. Whoever comes second finds it
-- moved on, so each instant makes one job.
--
-- ARGV  1 now, ms or ''   2 the lowest id that may be given, less one   3 the schedule's name   4 the instant, ms
--       5 the next instant, ms or '' for none   6 '1' to make a job, '0' to let this instant pass
--       then one job as in create
-- Returns the job's id; '' where none is made.

local name, instant, following = ARGV[3], ARGV[4], ARGV[5]
local due = redis.call('ZSCORE', schedules, name)
if not due or int(tonumber(due)) ~= instant then return '' end

if following ~= '' then
  redis.call('ZADD', schedules, following, name)
else
  redis.call('ZREM', schedules, name)
  redis.call('DEL', prefix .. name .. ':schedule')
end
if ARGV[6] == '0' then return '' end

local id = int(new_ids(1, tonumber(ARGV[2])))
make(id, { unpack(ARGV, 7, 12) }, { unpack(ARGV, 14, 13 + 2 * tonumber(ARGV[13])) })
return id
