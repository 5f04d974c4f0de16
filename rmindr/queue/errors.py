"""What can go wrong in the queue.

QueueError
├── InvalidJob          what was asked for cannot be a job; nothing was written
├── UnreadableJob       what stands in Redis under this id is not a job
├── QueueUnavailable    Redis could not be reached, or refused; the transition may or may not have happened
├── JobFailed           the job whose result was waited for has failed
└── Refused             the transition does not fit the job; nothing changed
    ├── JobNotFound     there is no job under this id
    ├── JobExists       another living job holds the unique key
    ├── WrongState      the job is not in a state that this verb starts from
    └── LeaseLost       the lease lapsed, or was ended by somebody else
"""

from __future__ import annotations


class QueueError(Exception):
    """Anything the queue has to say about a failure; catch this to catch them all."""


class InvalidJob(QueueError, ValueError):
    """What was asked for cannot be a job; the text names the field and how to mend it."""


class UnreadableJob(QueueError):
    """The hash of this id exists but is not a job, e.g. half-written by somebody else."""

    def __init__(self, job_id: int, why: str) -> None:
        super().__init__(f"job {job_id} cannot be read: {why}")
        self.job_id = job_id
        self.why = why


class QueueUnavailable(QueueError):
    """Redis could not be reached or refused the command; whether it was carried out is unknown."""


class JobFailed(QueueError):
    """The job whose result was waited for has failed; `error` is the text of its failure."""

    def __init__(self, job_id: int, error: str) -> None:
        super().__init__(f"job {job_id} has failed: {error.partition(chr(10))[0]}")
        self.job_id = job_id
        self.error = error


class Refused(QueueError):
    """The transition does not fit the job as it stands in Redis; nothing was changed."""

    def __init__(self, job_id: int, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(Refused):
    """There is no job under this id."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, f'job "{job_id}" does not exist')


class JobExists(Refused):
    """Another living job holds the unique key that this one would need."""

    def __init__(self, job_id: int, holder: int) -> None:
        super().__init__(job_id, f"job {job_id} cannot have its unique key back: job {holder} holds it now")
        self.holder = holder


class WrongState(Refused):
    """The job is in a state that this verb does not start from."""

    def __init__(self, job_id: int, verb: str, state: str) -> None:
        super().__init__(job_id, f"cannot {verb} job {job_id}: it is {state}")
        self.verb = verb
        self.state = state


class LeaseLost(Refused):
    """This worker no longer holds the job: its lease lapsed, or somebody ended the run."""

    def __init__(self, job_id: int, verb: str) -> None:
        super().__init__(job_id, f"cannot {verb} job {job_id}: this worker's lease on it is gone")
        self.verb = verb
