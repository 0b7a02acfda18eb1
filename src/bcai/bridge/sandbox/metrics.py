"""Bounds how many points of its metrics a job may send: each costs a row of the database."""

import time
from collections.abc import Callable

from bcai.bridge.sandbox.jail import Metric

BURST = 10_000  # points that may come at once
PER_S = 100.0  # points that may come for as long as the job runs: more than an eye can see


class MetricGate:
    """Lets points through, up to a rate; of those that came too fast the newest is kept.

    So a curve that is logged too often gets thinner, and its last point is there all the same.

    Attributes
    ----------
    left_out
        How many points were dropped.
    """

    def __init__(
        self, emit: Callable[[Metric], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._room = float(BURST)
        self._seen_at = clock()
        self._held: Metric | None = None
        self.left_out = 0

    def feed(self, metric: Metric) -> None:
        """Take a point as it comes."""
        if self._held is not None:
            self.left_out += 1
        self._held = metric
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Let the point that waits go, if the rate allows that now."""
        now = self._clock()
        self._room = min(BURST, self._room + (now - self._seen_at) * PER_S)
        self._seen_at = now
        if self._held is not None and self._room >= 1:
            self._room -= 1
            self.finish()

    def finish(self) -> None:
        """Let the point that waits go, whatever the rate: the job has ended."""
        if self._held is not None:
            held, self._held = self._held, None
            self._emit(held)
