"""A job queue on Redis that speaks Kue's wire, with transitions that cannot be half done.

async with Queue.open("redis://localhost:6379") as queue:
    job = await queue.create("email", {"to": "me"}, delay=timedelta(hours=1), priority="high",
                             attempts=5, backoff=Backoff.exponential(timedelta(seconds=30)))
    queue.on("job complete", lambda id, result, _: print(id, result))

    async def send(job: Job, context: Context) -> str: ...
    queue.process("email", send, concurrency=20)
    await queue.run()
"""

from rmindr.queue.backoff import Backoff
from rmindr.queue.errors import (
    InvalidJob,
    JobExists,
    JobFailed,
    JobNotFound,
    LeaseLost,
    QueueError,
    QueueUnavailable,
    Refused,
    UnreadableJob,
    WrongState,
)
from rmindr.queue.job import PRIORITIES, Job, Lease, NewJob, State
from rmindr.queue.queue import Queue
from rmindr.queue.runs import Abandon, Context, Retry
from rmindr.queue.schedules import Schedule
from rmindr.queue.steering import Kept, Limit

__all__ = [
    "PRIORITIES",
    "Abandon",
    "Backoff",
    "Context",
    "InvalidJob",
    "Job",
    "JobExists",
    "JobFailed",
    "JobNotFound",
    "Kept",
    "Lease",
    "LeaseLost",
    "Limit",
    "NewJob",
    "Queue",
    "QueueError",
    "QueueUnavailable",
    "Refused",
    "Retry",
    "Schedule",
    "State",
    "UnreadableJob",
    "WrongState",
]
