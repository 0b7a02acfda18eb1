"""The trusted report of a jail under construction: one JSON line per fact, on a pipe."""

import json
import os
from types import TracebackType
from typing import NoReturn


class Status:
    """The write end. Only our own processes hold it, never the job."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> "Status":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def say(self, **facts: object) -> None:
        """Write one line; short enough to be one write."""
        os.write(self._descriptor, json.dumps(facts).encode() + b"\n")

    def fail(self, wall: str, error: BaseException) -> NoReturn:
        """Report a wall as the one that failed, and end this process."""
        number = error.errno if isinstance(error, OSError) else None
        self.say(failed=wall, error=f"{error}"[:500], errno=number)
        os._exit(1)

    def step(self, wall: str) -> "_Step":
        """Name the wall that the `with` block builds."""
        return _Step(self, wall)


class _Step:
    """Reports a wall as standing, or as the one that failed, and then ends this process."""

    def __init__(self, status: Status, wall: str) -> None:
        self._status = status
        self._wall = wall

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._status.fail(self._wall, error)
        self._status.say(wall=self._wall)
