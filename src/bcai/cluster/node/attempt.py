"""One attempt of a job on this node, from Assign until its last report is durable."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from bcai.cluster.node.outbox import Outbox
from bcai.jobs.spec import JobSpec


@dataclass(slots=True, eq=False)
class Attempt:
    """What the node knows of an attempt. Only the event loop changes it.

    Attributes
    ----------
    cancelled
        Set once the attempt shall stop, for whatever reason; the jail watches it.
    is_dropped
        The attempt is not ours any more: nothing of it is reported.
    is_evicted
        The node stops: the job shall run again elsewhere.
    """

    spec: JobSpec
    number: int
    outbox: Outbox
    owner: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)
    waits: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    is_dropped: bool = False
    is_evicted: bool = False
    is_finished: bool = False

    @property
    def job_id(self) -> str:
        """The job."""
        return self.outbox.job_id

    @property
    def lock_token(self) -> str:
        """What fences its reports; also its name on this node."""
        return self.outbox.lock_token

    @property
    def is_over(self) -> bool:
        """Whether it ended and nothing of it is left to deliver."""
        return self.is_finished and self.outbox.is_empty

    def cancel(self) -> None:
        """Stop it, whatever it is doing."""
        self.cancelled.set()
        for wait in self.waits:
            wait.cancel()

    @contextmanager
    def interruptible(self) -> Generator[None, None, None]:
        """Leave the block early when the attempt is cancelled; look at `cancelled` after it."""
        with anyio.CancelScope() as wait:
            self.waits.add(wait)
            if self.cancelled.is_set():
                wait.cancel()
            try:
                yield
            finally:
                self.waits.discard(wait)

    def drop(self) -> None:
        """Stop it and forget its reports."""
        self.is_dropped = True
        self.outbox.close()
        self.cancel()

    def evict(self) -> None:
        """Stop it so that it can run elsewhere."""
        self.is_evicted = not self.cancelled.is_set()
        self.cancel()
