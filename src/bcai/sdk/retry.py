"""When a request is tried again: jittered exponential back-off, bounded in number and in time."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

TRIES_MAX = 12  # with the longest waits this outlasts a gateway that is restarted on a slow machine
TRY_FOR_S_MAX = 90.0
FIRST_CONTACT_TRIES_MAX = 3  # nobody was ever there: say so soon
_DELAY_S_MIN = 0.1
_DELAY_S_MAX = 5.0
RETRY_AFTER_S_MAX = 30.0


@dataclass(slots=True)
class Backoff:
    """The waits between the tries of one request."""

    tries_max: int = TRIES_MAX
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    _failures: int = 0
    _since: float | None = field(default=None)

    def delay_s(self, *, at_least_s: float = 0.0) -> float | None:
        """Count a failure; return how long to wait before the next try, None to give up."""
        now = self.clock()
        self._since = now if self._since is None else self._since
        self._failures += 1
        if self._failures >= self.tries_max or now - self._since > TRY_FOR_S_MAX:
            return None
        longest = min(_DELAY_S_MAX, _DELAY_S_MIN * 2 ** (self._failures - 1))
        asked = min(at_least_s, RETRY_AFTER_S_MAX)
        return asked + longest * (0.5 + 0.5 * self.jitter())

    def reset(self) -> None:
        """Forget the failures: something went well."""
        self._failures = 0
        self._since = None
