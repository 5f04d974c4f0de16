-- neighbours: what stands next to a place in sorted sets, whoever has come or gone since somebody looked there last.
--
-- KEYS  the sets
-- ARGV  1 'up' or 'down'   2 how many   3 the place's score, or '' for the end of the set   4 its member
-- Returns per set {rank of the first that is answered; how many there are; {member, score, …} in the order of the set}

local found = {}
for n, set in ipairs(KEYS) do
  local first, last, total = beside(set, ARGV[1] == 'up', tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4])
  found[n] = { first, total, first <= last and redis.call('ZRANGE', set, first, last, 'WITHSCORES') or {} }
end
return found
