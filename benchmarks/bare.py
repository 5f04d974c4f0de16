"""The least that a client can do: one connection, one script call at a time, nothing looked at.

produce PORT QUEUE   as ours.py, way "one" only: INCR, HSET and ZADD in one script, the least that a durable job with a
                     priority is
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import hiredis
import uvloop

from benchmarks.ours import line, payload

_ADD = """
local id = redis.call('INCR', KEYS[1])
redis.call('HSET', KEYS[2] .. id, 'type', ARGV[1], 'priority', '0', 'state', 'inactive', 'data', ARGV[2])
redis.call('ZADD', KEYS[3], 0, id)
return id
"""


class Wire(asyncio.Protocol):
    """One question, one answer."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader(notEnoughData=self)
        self.transport: Any = None
        self.answer: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        if (reply := self.reader.gets()) is not self:
            self.answer.set_result(reply)

    async def ask(self, *command: str | int) -> Any:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(hiredis.pack_command(command))
        return await self.answer


async def main(command: str, port: str, name: str) -> None:
    assert command == "produce"
    _, wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", int(port))
    sha = (await wire.ask("SCRIPT", "LOAD", _ADD)).decode()
    print("ready", flush=True)
    while order := await line():
        data = [json.dumps(payload(number, None)) for number in range(json.loads(order)["count"])]
        begun = time.perf_counter()
        for each in data:
            await wire.ask("EVALSHA", sha, 3, f"{name}:ids", f"{name}:job:", f"{name}:jobs", "noop", each)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
