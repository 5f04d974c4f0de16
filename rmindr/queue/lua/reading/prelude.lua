-- What the reading scripts share: where a place lies in a sorted set, whether or not a member still stands there.

-- How many members stand before the place, in the order of the set; `through`: one that stands at the place itself, too.
local function before(set, score, member, through)
  local low, high = 0, redis.call('ZCARD', set)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local name, at = unpack(redis.call('ZRANGE', set, middle, middle, 'WITHSCORES'))
    at = tonumber(at)
    if at < score or (at == score and (name < member or (through and name == member))) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The ranks of up to `many` members next to a place: those above it, or those below. No score: from the end of the set.
local function beside(set, upwards, many, score, member)
  local total = redis.call('ZCARD', set)
  if upwards then
    local first = score and before(set, score, member, true) or 0
    return first, math.min(first + many, total) - 1, total
  end
  local last = (score and before(set, score, member, false) or total) - 1
  return math.max(0, last - many + 1), last, total
end
