"""The original Kue, in a Node process of its own (driver.js): told what to do, and heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rmindr.queue import Job, Queue
from rmindr.queue.job import to_ms

FOLDER: Final = Path(__file__).parent
# How long an answer or an event may take on a slow machine; none should take a tenth of it.
PATIENCE_S: Final = 10.0
# Kue's default is a second; its timers then decide how long the tests take.
INTERVAL_MS: Final = 40


@dataclass(frozen=True)
class Function:
    """A JavaScript function, by its text."""

    text: str


@dataclass(frozen=True)
class Heard:
    """An event as Kue hands it to a listener: at the queue's or at the job's level, ("start", (1, "email", None))."""

    level: str
    name: str
    args: tuple[Any, ...]


class Hand:
    """What a handler in Kue may do with the job in its hands."""

    def __init__(self, kue: Kue, run: int) -> None:
        self._kue = kue
        self._run = run

    async def do(self, *steps: tuple[Any, ...]) -> Any:
        """Call methods of this job, e.g. ("progress", 1, 4), ("log", "half way")."""
        return await self._kue.ask(on=["run", self._run], steps=steps)


Handler = Callable[[dict[str, Any], Hand], Awaitable[Any]]


class Kue:
    """One process of Kue on one prefix; whatever its queue hears is in `heard`, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._news = asyncio.Condition()
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._printed: list[str] = []
        self.heard: list[Heard] = []
        # What its queue emitted as `error`.
        self.troubles: list[str] = []

    @classmethod
    @asynccontextmanager
    async def start(cls, port: int, prefix: str, *, interval: int = INTERVAL_MS) -> AsyncIterator[Kue]:
        """A Kue with a queue on the Redis of this port, listening."""
        process = await asyncio.create_subprocess_exec(
            "node", FOLDER / "driver.js", cwd=FOLDER, limit=2**24,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        kue = cls(process)
        kue._do(kue._read())
        kue._do(kue._read_printed())
        try:
            await kue.ask(verb="open", port=port, prefix=prefix, interval=interval)
            yield kue
        finally:
            await kue._close()

    async def ask(self, **request: Any) -> Any:
        """Send one request of the driver's and wait for its answer; what went wrong in Kue is a RuntimeError."""
        assert self._process.stdin is not None
        number = len(self._asked) + 1
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"ask": number, **request}, default=_in_javascript).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether its process has not ended, by itself or otherwise."""
        return self._process.returncode is None

    async def kill(self) -> None:
        """End it as a crash would, between any two of its writes."""
        if self.lives:
            self._process.kill()
        await self._process.wait()

    # Producing and looking

    async def create(self, type: str, data: Any = None, **options: Any) -> int:
        """Save a job with these options under Kue's names, e.g. attempts=3, backoff={"type": "fixed"}; answers its id."""
        steps = [*((name, value) for name, value in options.items()), ("save",)]
        job = await self.ask(on=["new", type, data], steps=steps)
        return int(job["id"])

    async def get(self, job_id: int) -> dict[str, Any]:
        """What Kue reads of a job: its toJSON, with `backoff` and `removeOnComplete`; absent fields are absent."""
        return dict(await self.ask(on=["job", job_id], steps=[]))

    async def change(self, job_id: int, *steps: tuple[Any, ...]) -> Any:
        """Get a job and call methods on it, e.g. ("priority", "high"), ("update",)."""
        return await self.ask(on=["job", job_id], steps=steps)

    async def queue(self, method: str, *args: Any) -> Any:
        """Call a method of the queue, e.g. "inactiveCount", "email"."""
        return await self.ask(on=["queue"], steps=[(method, *args)])

    async def jobs(self, method: str, *args: Any) -> Any:
        """Call a static method of Job, e.g. "rangeByState", "failed", 0, -1, "asc"."""
        return await self.ask(on=["Job"], steps=[(method, *args)])

    # Working and hearing

    async def process(self, type: str, handler: Handler, *, concurrency: int = 1) -> None:
        """Let a handler of ours work Kue's jobs of this type: it returns the result, or raises the failure."""
        self._handlers[type] = handler
        await self.ask(verb="process", type=type, concurrency=concurrency)

    async def work(self, types: dict[str, int], notes: str) -> None:
        """Let it work these types by itself, so many at once: as their data says, noting each run in this list."""
        await self.ask(verb="work", types=types, notes=notes)

    async def hears(self, name: str, job_id: int, *, times: int = 1, level: str = "queue") -> tuple[Any, ...]:
        """Wait until an event of this job has been heard so many times; answers the args after the id, of the last."""

        def found() -> list[tuple[Any, ...]]:
            return [args for args in self.args(name, level) if args[0] == job_id]

        await self.until(lambda: len(found()) >= times)
        return found()[times - 1][1:]

    async def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait until this holds, asking again at each event that is heard."""
        async with asyncio.timeout(patience_s), self._news:
            await self._news.wait_for(holds)

    def args(self, name: str, level: str = "queue") -> list[tuple[Any, ...]]:
        """The args of each event of this name that was heard so far, the id in front."""
        return [heard.args for heard in self.heard if (heard.name, heard.level) == (name, level)]

    def story(self, job_id: int, level: str = "queue") -> list[tuple[Any, ...]]:
        """What was heard of one job so far, e.g. [("enqueue", "email"), ("start", "email", None)]."""
        return [
            (heard.name, *heard.args[1:]) for heard in self.heard if (heard.level, heard.args[0]) == (level, job_id)
        ]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "answer" in message:
                self._land(message)
            elif "run" in message:
                self._do(self._work(message["run"], message["job"]))
            elif "trouble" in message:
                self.troubles.append(message["trouble"])
            else:
                self.heard.append(Heard(message["level"], message["event"], tuple(message["args"])))
                async with self._news:
                    self._news.notify_all()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(RuntimeError("\n".join(["Kue has ended:", *self._printed])))

    def _land(self, message: dict[str, Any]) -> None:
        answer = self._asked[message["answer"]]
        if answer.done():
            return
        if "error" in message:
            answer.set_exception(RuntimeError(message["error"]))
        else:
            answer.set_result(message["value"])

    async def _read_printed(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._printed.append(line.decode(errors="replace").rstrip())

    async def _work(self, run: int, job: dict[str, Any]) -> None:
        try:
            result = await self._handlers[job["type"]](job, Hand(self, run))
        except Exception as failure:
            await self.ask(on=["run", run], steps=[("done", failure)])
        else:
            await self.ask(on=["run", run], steps=[("done", None, result)])

    def _do(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        print("--- Kue", *self.troubles[-20:], *self._printed[-40:], sep="\n")


@asynccontextmanager
async def working(queue: Queue, **timings: Any) -> AsyncIterator[None]:
    """A worker of ours at work inside the block, on what the queue was told to process."""
    run = asyncio.create_task(queue.run(**timings))
    try:
        while queue.worker is None and not run.done():
            await asyncio.sleep(0)
        yield
    finally:
        queue.shutdown()
        await run


def wait_before(job: Job | dict[str, Any]) -> int:
    """How long after its last failure a job was due again, ms: of ours, or as Kue tells it."""
    if isinstance(job, Job):
        assert job.promote_at is not None
        assert job.failed_at is not None
        return to_ms(job.promote_at - job.failed_at)
    return int(job["promote_at"]) - int(job["failed_at"])


def _in_javascript(value: Any) -> Any:
    match value:
        case datetime():
            return {"$date": to_ms(value)}
        case Function():
            return {"$function": value.text}
        case Exception():
            return {"$error": str(value)}
    raise TypeError(f"{value!r} cannot be told to Kue")
