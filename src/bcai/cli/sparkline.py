"""A curve in one line of text."""

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw the values' course with one bar per place; gaps where they are not finite.

    More values than places are averaged in equal groups, so that the whole course is seen.
    """
    groups = _groups(values, width)
    finite = [value for value in groups if value is not None]
    if not finite:
        return ""
    # Measured in parts of the largest one, so that no difference overflows.
    largest = max(abs(value) for value in finite) or 1.0
    low, high = min(finite) / largest, max(finite) / largest
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        " " if value is None else _BARS[round((value / largest - low) * scale)] for value in groups
    )


def _groups(values: Sequence[float], width: int) -> list[float | None]:
    count = min(width, len(values))
    means: list[float | None] = []
    for place in range(count):
        start = place * len(values) // count
        stop = (place + 1) * len(values) // count
        group = [value for value in values[start:stop] if math.isfinite(value)]
        means.append(sum(value / len(group) for value in group) if group else None)
    return means
