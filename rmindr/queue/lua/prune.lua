-- prune: complete | failed -> (nothing)
-- Remove ended jobs beyond the count and the age that the queue keeps, oldest end first.
--
-- ARGV  1 now, ms or ''   2 how many at most, of each state
-- Returns how many.

if redis.call('EXISTS', retention) == 0 then return 0 end
return prune('complete', tonumber(ARGV[2])) + prune('failed', tonumber(ARGV[2]))
