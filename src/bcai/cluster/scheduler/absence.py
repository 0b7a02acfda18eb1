"""Notices that nobody looked for a while: no scheduler ran, the machine slept, the store was away.

Meanwhile no node could call and no side could answer, or nobody would have heard it: such a time
counts against nobody. It shows in the wall clock alone, which goes on in a machine that sleeps.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Absence:
    """When somebody looked last; at first, nobody ever has."""

    away_s: float
    _looked_at: float = float("-inf")

    def is_over(self, now: float) -> bool:
        """Whether a look at `now` is the first for longer than `away_s`, or the clock was set."""
        return not 0 <= now - self._looked_at <= self.away_s

    def looked(self, at: float, took_s: float) -> None:
        """Say that a look is over which began `at`, by the wall clock.

        That it `took_s`, by a clock that stands still in a machine that sleeps, is no absence.
        """
        self._looked_at = at + took_s
