-- promote: delayed -> inactive
-- Make jobs whose instant has come ready to be taken, soonest due first.
--
-- ARGV  1 now, ms or ''   2 how many at most
-- Returns how many.

return promote_due(ARGV[2])
