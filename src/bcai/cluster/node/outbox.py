"""Reports of one attempt that the gateway has not acknowledged yet."""

import threading
from collections import deque
from collections.abc import Callable

from bcai.wire.nodes import Finished, Log, Report, ReportBody

REPORTS_MAX = 2_000  # what a gateway that is away may cost in memory, per attempt
BYTES_MAX = 4 * 1024 * 1024
LOG_BYTES_MAX = 32 * 1024  # lines are joined up to here, so that a chatty job costs few commits


class Outbox:
    """Keeps reports, in order, until they are durable on the other side.

    `put` may be called from any thread; everything else belongs to the event loop. A full
    outbox blocks `put`: the jail's pipe fills, and the job waits in `print`. That is the
    back-pressure: a job can never have shown more than the node can deliver later.
    """

    def __init__(
        self,
        job_id: str,
        lock_token: str,
        wake: Callable[[], None],
        *,
        reports_max: int = REPORTS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.job_id = job_id
        self.lock_token = lock_token
        self._wake = wake
        self._reports_max = reports_max
        self._bytes_max = bytes_max
        self._room = threading.Condition()
        self._kept: deque[Report] = deque()
        self._bytes = 0
        self._numbered = 0
        self._sent = 0  # highest number that went out on the present connection
        self._ever_sent = 0  # highest number that ever went out: those never change any more
        self._closed = False

    def put(self, body: ReportBody) -> None:
        """Add a report; wait while the outbox is full. The last report never waits."""
        with self._room:
            if not isinstance(body, Finished):
                self._room.wait_for(lambda: self._closed or not self._is_full())
            if self._closed:
                return
            if not self._join(body):
                self._numbered += 1
                self._append(body, self._numbered)
        self._wake()

    def take_unsent(self, reports_max: int) -> list[Report]:
        """Return reports that the present connection has not carried, at most `reports_max`."""
        with self._room:
            unsent = [report for report in self._kept if report.number > self._sent][:reports_max]
            if unsent:
                self._sent = unsent[-1].number
                self._ever_sent = max(self._ever_sent, self._sent)
            return unsent

    def rewind(self) -> None:
        """Send everything that is kept again: there is a new connection."""
        with self._room:
            self._sent = 0

    def acknowledge(self, number: int) -> None:
        """Forget the reports up to this number: they are durable."""
        with self._room:
            while self._kept and self._kept[0].number <= number:
                self._bytes -= _size(self._kept.popleft().body)
            self._room.notify_all()

    def close(self) -> None:
        """Forget everything and take nothing more: the attempt is not ours any more."""
        with self._room:
            self._closed = True
            self._kept.clear()
            self._bytes = 0
            self._room.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether everything so far is durable, or given up."""
        with self._room:
            return not self._kept

    def _is_full(self) -> bool:
        return len(self._kept) >= self._reports_max or self._bytes >= self._bytes_max

    def _append(self, body: ReportBody, number: int) -> None:
        self._kept.append(
            Report(job_id=self.job_id, lock_token=self.lock_token, number=number, body=body)
        )
        self._bytes += _size(body)

    def _join(self, body: ReportBody) -> bool:
        """Append text to the last report where nobody has seen that yet."""
        last = self._kept[-1] if self._kept else None
        if last is None or last.number <= self._ever_sent:
            return False
        if not isinstance(body, Log) or not isinstance(last.body, Log):
            return False
        if last.body.stream != body.stream or _size(last.body) + _size(body) > LOG_BYTES_MAX:
            return False
        self._kept.pop()
        self._bytes -= _size(last.body)
        joined = Log(at=last.body.at, stream=body.stream, text=last.body.text + body.text)
        self._append(joined, last.number)
        return True


def _size(body: ReportBody) -> int:
    """Roughly what a report costs in memory."""
    return len(body.text) if isinstance(body, Log) else 200
