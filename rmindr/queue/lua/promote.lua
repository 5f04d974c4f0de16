-- promote: delayed -> inactive
-- Make jobs whose instant has come ready to be taken, soonest due first.
--
-- ARGV  1 now, ms or ''   2 how many at most
-- Returns how many; none while a Kue does the same.

return promote_due(ARGV[2]) or 0
