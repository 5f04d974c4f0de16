-- fail: active -> delayed | inactive | failed
-- The runs have failed: another attempt later or at once where attempts are left, failed for good where none are.
--
-- ARGV  1 now, ms or ''   then per job: id, token, message, error text, ms to wait or '' for no further attempt
-- Returns per job the state it is in now, or 'missing' or 'lost'.

local replies, done = {}, 0
for at = 2, #ARGV, 5 do
  local job, refusal = held(ARGV[at], ARGV[at + 1])
  replies[#replies + 1] = refusal or end_run(job, ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
  if replies[#replies] == 'failed' then done = done + 1 end
end
flush()
prune('failed', 2 * done)
return replies
