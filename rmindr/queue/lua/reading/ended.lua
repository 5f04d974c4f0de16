-- ended: the jobs of one type that have ended in one state, in the order in which they did, next to a place.
-- No set has them in this order: where there are few, they are put in it; else the endings of all types are looked through.
--
-- KEYS  1 the ended jobs of this state, by when   2 all jobs of this state   3 those of them that are of the type
-- ARGV  1 'up' or 'down'   2 how many   3 the place's score, or ''   4 its member   5 how many are few
--       6 how many endings to look through at most
-- Returns {rank of the first among its type, or ''; how many there are; {member, score, …} in the order of their endings;
--         {member, score} where looking stopped short, or {}}; nothing at all where a Kue ended some, which says not when.

local endings, type = KEYS[1], KEYS[3]
local upwards, many, score, member = ARGV[1] == 'up', tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local total = redis.call('ZCARD', type)

local function put_in_order()
  local list = {}
  for _, each in ipairs(redis.call('ZRANGE', type, 0, -1)) do
    local at = redis.call('ZSCORE', endings, each)
    if at then list[#list + 1] = { each, tonumber(at), at } end
  end
  table.sort(list, function(one, other)
    return one[2] < other[2] or (one[2] == other[2] and one[1] < other[1])
  end)
  local from, to = 1, #list
  if score then
    for n, each in ipairs(list) do
      local below = each[2] < score or (each[2] == score and each[1] < member)
      local there = each[2] == score and each[1] == member
      if upwards and (below or there) then from = n + 1 end
      if not upwards and not below then
        to = n - 1
        break
      end
    end
  end
  if upwards then to = math.min(to, from + many - 1) else from = math.max(from, to - many + 1) end
  local found = {}
  for n = from, to do found[#found + 1], found[#found + 2] = list[n][1], list[n][3] end
  return { from - 1, #list, found, {} }
end

local function look_through()
  local first, last = beside(endings, upwards, tonumber(ARGV[6]), score, member)
  local found, seen = {}, {}
  while #found < many and first <= last do
    local from = upwards and first or math.max(first, last - 499)
    local to = upwards and math.min(last, first + 499) or last
    local chunk = redis.call('ZRANGE', endings, from, to, 'WITHSCORES')
    for n = 1, #chunk, 2 do
      local at = upwards and n or #chunk - n
      seen = { chunk[at], chunk[at + 1] }
      if #found < many and redis.call('ZSCORE', type, chunk[at]) then found[#found + 1] = seen end
      if #found == many then break end
    end
    if upwards then first = to + 1 else last = from - 1 end
  end
  local list = {}
  for n = 1, #found do
    local each = found[upwards and n or #found - n + 1]
    list[#list + 1], list[#list + 2] = each[1], each[2]
  end
  local more = seen[1] and (upwards and redis.call('ZRANK', endings, seen[1]) + 1 < redis.call('ZCARD', endings)
    or not upwards and redis.call('ZRANK', endings, seen[1]) > 0)
  return { '', total, list, more and seen or {} }
end

if not score and redis.call('ZCARD', endings) ~= redis.call('ZCARD', KEYS[2]) then return {} end
return total <= tonumber(ARGV[5]) and put_in_order() or look_through()
