"""A check's cost is known before a job is sent."""

import pytest

from bcai.jobs.cost import cost_of
from bcai.jobs.verify import parse_verify


@pytest.mark.parametrize(
    ("verify", "nodes", "runs", "runs_max"),
    [
        ("none", 1, 1.0, 1),
        ("full", 1, 2.0, 2),
        ("audited:0.25", 1, 1.25, 2),
        ("audited:0.0", 1, 1.0, 1),
        ("replicated:3", 3, 3.0, 3),
        ("replicated:2", 2, 2.0, 3),
    ],
)
def test_runs_of_the_job(verify: str, nodes: int, runs: float, runs_max: int) -> None:
    cost = cost_of(parse_verify(verify), 60.0)
    assert (cost.nodes, cost.runs, cost.runs_max) == (nodes, runs, runs_max)
    assert cost.node_s_max == 60.0 * runs_max
    assert f"{runs:g} x its computing" in cost.text
    assert ("one more if they are divided" in cost.text) == (verify == "replicated:2")


@pytest.mark.parametrize(
    ("verify", "runs_max"), [("none", 1), ("full", 3), ("audited:0.25", 3), ("audited:0.0", 1)]
)
def test_a_captured_script_that_differs_is_replayed_too(verify: str, runs_max: int) -> None:
    plain, cost = (cost_of(parse_verify(verify), 60.0, captured=each) for each in (False, True))
    assert cost.runs == plain.runs
    assert cost.runs_max == runs_max
    assert ("replays what the node recorded" in cost.text) == (runs_max == 3)
