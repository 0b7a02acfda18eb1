"""What happens to a job, as typed events for whoever watches it."""

import math
from dataclasses import dataclass
from typing import Literal, cast

from bcai.jobs.job import EventKind, JobEvent
from bcai.jobs.states import JobState


@dataclass(frozen=True, slots=True)
class StateEvent:
    """The job moved to another state."""

    sequence: int
    at: float
    attempt: int
    state: JobState
    reason: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Text that the job wrote: whole lines, or the last one."""

    sequence: int
    at: float
    attempt: int
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class MetricEvent:
    """Numbers that the job logged with `bcai.log(step=..., loss=...)`."""

    sequence: int
    at: float
    attempt: int
    step: int | None
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far the job says it is, from 0 to 100."""

    sequence: int
    at: float
    attempt: int
    percent: float


@dataclass(frozen=True, slots=True)
class NoteEvent:
    """A warning or remark by the network."""

    sequence: int
    at: float
    attempt: int
    text: str


Event = StateEvent | LogEvent | MetricEvent | ProgressEvent | NoteEvent


def typed_event(event: JobEvent) -> Event:
    """Read an event off the wire."""
    head = (event.sequence, event.at, event.attempt)
    body = event.body
    match event.kind:
        case EventKind.LOG:
            stream = "stderr" if body.get("stream") == "stderr" else "stdout"
            return LogEvent(*head, stream, str(body.get("text", "")))
        case EventKind.METRIC:
            step = body.get("step")
            values = cast("dict[str, object]", body.get("values") or {})
            numbers = {name: _number(value) for name, value in values.items()}
            return MetricEvent(*head, step if isinstance(step, int) else None, numbers)
        case EventKind.PROGRESS:
            return ProgressEvent(*head, 100 * _number(body.get("fraction", 0)))
        case EventKind.NOTE:
            return NoteEvent(*head, str(body.get("text", "")))
        case EventKind.STATE:
            state = JobState(str(body.get("state")))
            return StateEvent(*head, state, _words(body.get("reason")), _words(body.get("node")))


def _number(value: object) -> float:
    """Read a number; those that JSON lacks travel as the texts nan, inf and -inf."""
    if isinstance(value, int | float):
        return value
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _words(value: object) -> str:
    """Text of a reason, which is a sentence or an object with a `message`."""
    if isinstance(value, dict):
        value = cast("dict[str, object]", value).get("message")
    return "" if value is None else str(value)
