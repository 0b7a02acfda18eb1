"""Collects what a job prints into batches of lines, with a short delay and a limit on all of it."""

import time
from collections.abc import Callable
from typing import Literal

from bcai.bridge.sandbox.jail import LogText
from bcai.bridge.sandbox.text import TextDecoder

_DELAY_S = 0.05  # short enough to look live, long enough to carry many lines at once
_BATCH_MAX = 32_000
_TAIL_MAX = 4000


class LogBudget:
    """Bytes that both streams together may still write."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self.is_exceeded = False

    def take(self, data: bytes) -> bytes:
        """Return the part of `data` that fits."""
        kept = data[: max(0, self._limit - self.used)]
        self.used += len(kept)
        self.is_exceeded = self.is_exceeded or len(kept) < len(data)
        return kept


class LogStream:
    """One of the two streams. The first output leaves at once, later ones in whole lines."""

    def __init__(
        self,
        name: Literal["stdout", "stderr"],
        budget: LogBudget,
        emit: Callable[[LogText], None],
    ) -> None:
        self._name: Literal["stdout", "stderr"] = name
        self._budget = budget
        self._emit = emit
        self._decoder = TextDecoder()
        self._pending = ""
        self._due: float | None = None
        self._is_first = True
        self.tail = ""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        text = self._decoder.feed(self._budget.take(data))
        if not text:
            return
        self._pending += text
        self.tail = (self.tail + text)[-_TAIL_MAX:]
        if self._is_first or len(self._pending) > _BATCH_MAX:
            self._flush()
        elif self._due is None:
            self._due = time.monotonic() + _DELAY_S

    def flush_if_due(self) -> None:
        """Let go of what has waited long enough."""
        if self._due is not None and time.monotonic() >= self._due:
            self._flush()

    def finish(self) -> None:
        """Let go of everything; the stream has ended."""
        self._pending += self._decoder.finish()
        self._flush()

    def _flush(self) -> None:
        """Emit whole lines, or, after waiting, the line so far (a prompt, a progress bar)."""
        self._due = None
        while self._pending:
            self._is_first = False
            batch, self._pending = self._pending[:_BATCH_MAX], self._pending[_BATCH_MAX:]
            self._emit(LogText(self._name, batch))
