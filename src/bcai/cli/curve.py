"""The course of a metric in bounded memory."""

import math
from dataclasses import dataclass, field

POINTS_MAX = 1024  # from then on, neighbours are averaged: a terminal shows no more than its width


@dataclass(slots=True)
class Curve:
    """All values of one metric so far, thinned out evenly, and the latest."""

    latest: float = math.nan
    points: list[float] = field(default_factory=list[float])
    _stride: int = 1
    _group: list[float] = field(default_factory=list[float])

    def add(self, value: float) -> None:
        """Take the next value."""
        self.latest = value
        self._group.append(value)
        if len(self._group) < self._stride:
            return
        self.points.append(_mean(self._group))
        self._group.clear()
        if len(self.points) >= POINTS_MAX:
            self.points = [_mean(self.points[at : at + 2]) for at in range(0, POINTS_MAX, 2)]
            self._stride *= 2


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
