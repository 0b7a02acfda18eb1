"""What the jail tells, in the words of the wire."""

import math
from typing import Literal

from bcai.bridge.sandbox import jail
from bcai.wire.nodes import Log, Metric, Progress, ReportBody, Started


def body_of(event: jail.JailEvent, at: float) -> ReportBody:
    """Turn an event of the jail into the body of a report."""
    match event:
        case jail.Started():
            return Started(at=at)
        case jail.LogText(stream, text):
            return Log(at=at, stream=stream, text=text)
        case jail.Metric(step, values):
            return Metric(
                at=at, step=step, values={name: _number(value) for name, value in values.items()}
            )
        case jail.Progress(fraction):
            return Progress(at=at, fraction=min(max(fraction, 0.0), 1.0))


def _number(value: float) -> float | Literal["nan", "inf", "-inf"]:
    """JSON has no not-a-number and no infinities."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"
