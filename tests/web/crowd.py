"""A hundred thousand jobs in a second, written as they would stand: for pages that must not mind how many there are."""

from __future__ import annotations

from typing import Any, Final

from rmindr.queue import Queue

STATES: Final = ("delayed", "inactive", "complete", "failed")
TYPES: Final = ("email", "report", "letter")

_CROWD: Final = """
    local P, many, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
    local states = { 'delayed', 'inactive', 'complete', 'failed' }
    local types = { 'email', 'report', 'letter' }
    for _, type in ipairs(types) do redis.call('SADD', P .. ':job:types', type) end
    redis.call('ZADD', P .. ':words', 0, 'crowd')
    for n = 1, many do
      local id = string.format('%d', n)
      local member = string.format('%02d|%s', #id, id)
      local state, type = states[n % 4 + 1], types[n % 3 + 1]
      local due = string.format('%d', state == 'delayed' and now + 3600000 + n or now - n)
      redis.call('HSET', P .. ':job:' .. id, 'type', type, 'data', '{"title":"Job ' .. id .. ' of a crowd","body":"secret"}',
        'state', state, 'priority', '0', 'created_at', string.format('%d', now - 7200000), 'promote_at', due, 'updated_at', due,
        'max_attempts', '3', 'words', '["crowd"]')
      if state == 'failed' then redis.call('HSET', P .. ':job:' .. id, 'error', 'no luck', 'failed_at', due) end
      redis.call('SADD', P .. ':crowd:word', id)
      redis.call('ZADD', P .. ':jobs', 0, member)
      redis.call('ZADD', P .. ':jobs:' .. state, state == 'delayed' and due or 0, member)
      redis.call('ZADD', P .. ':jobs:' .. type .. ':' .. state, 0, member)
      if state == 'complete' or state == 'failed' then redis.call('ZADD', P .. ':ended:' .. state, due, member) end
    end
    redis.call('SET', P .. ':ids', many)
"""


async def a_crowd(queue: Queue, many: int = 100_000) -> None:
    """So many jobs, a quarter of them in each of STATES, a third of each of TYPES; the word «crowd» finds them all."""
    redis: Any = queue.redis
    await redis.eval(_CROWD, 0, queue.keys.prefix, many, await queue.lifecycle.now_ms())
