"""How far a training is: a line that moves on a terminal, elsewhere a new one now and then."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from bcai.base.units import format_duration_s

PLAIN_EVERY_S = 30.0
"""Where lines stay, such as in a log or a notebook: a short training says nothing there."""


class ProgressLine:
    """Is told of steps as `on_step` is, and writes to stderr."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_live = self._stream.isatty()
        self._written_at = clock()
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int, steps: int, values: Mapping[str, float]) -> None:
        """Write how far it is, if it is time to."""
        now = self._clock()
        line = self._line(done, steps, values, now)
        if self._is_live:
            end = "\n" if done == steps else ""
            self._stream.write(f"\r\x1b[K{line}{end}")
        elif now - self._written_at >= PLAIN_EVERY_S:
            self._written_at = now
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _line(self, done: int, steps: int, values: Mapping[str, float], now: float) -> str:
        shown = "".join(f", {name} {value:.4g}" for name, value in values.items())
        if self._first is None:
            self._first = (done, now)
        first, at = self._first
        left = ""
        if first < done < steps:
            left = f", {format_duration_s((now - at) / (done - first) * (steps - done))} left"
        return f"step {done:,} of {steps:,}{shown}{left}"
