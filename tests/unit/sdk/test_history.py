"""What is known of a job, from its events."""

import math

from bcai.jobs.job import EventKind, JobEvent
from bcai.jobs.states import JobState
from bcai.sdk.events import LogEvent, MetricEvent, ProgressEvent, StateEvent, typed_event
from bcai.sdk.history import History

from .fake_gateway import log


def metric(sequence: int, attempt: int, step: int, loss: object) -> JobEvent:
    body: dict[str, object] = {"step": step, "values": {"loss": loss}}
    return JobEvent(sequence, 0.0, attempt, EventKind.METRIC, body)


def test_each_event_counts_once_and_in_order() -> None:
    history = History()
    history.absorb([log(1, "a\n"), log(2, "b\n")])
    history.absorb([log(2, "b\n"), log(4, "d\n"), log(3, "c\n")])
    assert history.logs == "a\nb\nc\n"
    history.absorb([log(4, "d\n")])
    assert history.logs == "a\nb\nc\nd\n"


def test_metrics_are_those_of_the_latest_attempt() -> None:
    history = History()
    history.absorb([metric(1, 1, 0, 9.0), metric(2, 2, 0, 3.0), metric(3, 2, 1, 2.0)])
    assert history.metrics == [{"step": 0, "loss": 3.0}, {"step": 1, "loss": 2.0}]


def test_an_attempt_begins_anew() -> None:
    history = History()
    history.absorb([metric(1, 1, 0, 9.0), JobEvent(2, 0.0, 1, EventKind.PROGRESS, {"fraction": 1})])
    assert history.percent == 100
    history.absorb([JobEvent(3, 0.0, 2, EventKind.STATE, {"state": "RUNNING"})])
    assert (history.percent, history.metrics) == (0, [])


def test_not_a_number_comes_back_as_one() -> None:
    history = History()
    history.absorb([metric(1, 1, 0, "nan"), metric(2, 1, 1, "-inf")])
    first, second = history.metrics
    assert math.isnan(first["loss"] or 0)
    assert second["loss"] == -math.inf


def test_events_are_typed() -> None:
    def typed(kind: EventKind, **body: object) -> object:
        return typed_event(JobEvent(1, 2.0, 1, kind, body))

    assert typed(EventKind.LOG, stream="stderr", text="x") == LogEvent(1, 2.0, 1, "stderr", "x")
    assert typed(EventKind.PROGRESS, fraction=0.25) == ProgressEvent(1, 2.0, 1, 25.0)
    assert typed(EventKind.METRIC, step=None, values={"a": 1}) == MetricEvent(
        1, 2.0, 1, None, {"a": 1}
    )
    assert typed(EventKind.STATE, state="RUNNING", node="here") == StateEvent(
        1, 2.0, 1, JobState.RUNNING, "", "here"
    )
    reason = {"code": "node.lost", "message": "the node is gone", "hint": ""}
    assert typed(EventKind.STATE, state="QUEUED", reason=reason) == StateEvent(
        1, 2.0, 1, JobState.QUEUED, "the node is gone"
    )
