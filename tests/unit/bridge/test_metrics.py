from bcai.bridge.sandbox.jail import Metric
from bcai.bridge.sandbox.metrics import BURST, PER_S, MetricGate


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def point(step: int) -> Metric:
    return Metric(step, {"loss": 1.0 / (step + 1)})


def test_points_at_an_ordinary_rate_all_pass() -> None:
    clock, seen = Clock(), list[Metric]()
    gate = MetricGate(seen.append, clock)
    for step in range(3 * BURST):
        clock.now += 1 / PER_S
        gate.feed(point(step))
    assert [metric.step for metric in seen] == list(range(3 * BURST))
    assert gate.left_out == 0


def test_a_flood_is_thinned_and_its_last_point_kept() -> None:
    clock, seen = Clock(), list[Metric]()
    gate = MetricGate(seen.append, clock)
    for step in range(100 * BURST):
        clock.now += 1e-5
        gate.feed(point(step))
    gate.finish()
    assert BURST <= len(seen) <= BURST + 10 * PER_S + 1
    assert seen[-1].step == 100 * BURST - 1
    assert gate.left_out == 100 * BURST - len(seen)
    assert [metric.step for metric in seen] == sorted({metric.step or 0 for metric in seen})


def test_a_point_that_waits_goes_when_it_may() -> None:
    clock, seen = Clock(), list[Metric]()
    gate = MetricGate(seen.append, clock)
    for step in range(BURST + 1):
        gate.feed(point(step))
    assert len(seen) == BURST
    clock.now += 1.0
    gate.flush_if_due()
    assert seen[-1] == point(BURST)
