import math

import pytest

from bcai.bridge.sandbox import jail
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.reports import body_of
from bcai.wire.nodes import FROM_NODE, Log, Metric, Progress, Report, Started


def test_every_event_has_a_report() -> None:
    assert body_of(jail.Started(JailReport("B")), 1.0) == Started(at=1.0)
    text = body_of(jail.LogText("stderr", "hm\n"), 2.0)
    assert text == Log(at=2.0, stream="stderr", text="hm\n")
    assert body_of(jail.Progress(0.5), 3.0) == Progress(at=3.0, fraction=0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_travel_as_words(value: float) -> None:
    body = body_of(jail.Metric(7, {"loss": value, "accuracy": 0.5}), 1.0)
    assert body == Metric(at=1.0, step=7, values={"loss": repr(value), "accuracy": 0.5})  # pyright: ignore[reportArgumentType]
    report = Report(job_id="job_1", lock_token="t", number=1, body=body)
    assert FROM_NODE.validate_json(report.model_dump_json()) == report
