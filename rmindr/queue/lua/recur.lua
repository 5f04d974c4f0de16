-- recur: (nothing) -> inactive
-- The instant of a schedule has come: make its job, and move the schedule on to the next. Whoever comes second finds it
-- moved on, so each instant makes one job.
--
-- ARGV  1 now, ms or ''   2 the lowest id that may be given, less one   3 the schedule's name   4 what it was read as
--       5 the instant, ms   6 the next instant, ms or '' for none   7 '1' to make a job, '0' to let this instant pass
--       then one job as in create
-- Returns the job's id; '' where none is made.

local name, standing, instant, following = unpack(ARGV, 3, 6)
local schedule = prefix .. name .. ':schedule'
local due = redis.call('ZSCORE', schedules, name)
if not due or int(tonumber(due)) ~= instant or redis.call('HGET', schedule, 'is') ~= standing then return '' end

if following ~= '' then
  redis.call('ZADD', schedules, following, name)
else
  redis.call('ZREM', schedules, name)
  redis.call('DEL', schedule)
end
if ARGV[7] == '0' then return '' end

local id = int(new_ids(1, tonumber(ARGV[2])))
make(id, { unpack(ARGV, 8, 13) }, { unpack(ARGV, 15, 14 + 2 * tonumber(ARGV[14])) })
return id
