from dataclasses import replace

from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_job, make_node

from bcai.cluster.scheduler.lease import lost
from bcai.cluster.scheduler.running import OVERRUN_S, overdue
from bcai.jobs.job import Attempt
from bcai.jobs.outcome import ReasonCode

HELD = replace(make_job(), node_id="node-laptop", lease_until=NOW + 10)


def test_a_job_is_not_lost_while_its_lease_runs() -> None:
    assert lost(HELD, {}, NOW + 10) is None


def test_a_lost_node_is_named_with_its_silence() -> None:
    reason = lost(HELD, {"node-laptop": make_node("laptop")}, NOW + 12)
    assert reason is not None
    assert reason.code is ReasonCode.NODE_LOST
    assert "laptop" in reason.message
    assert "12.0 s" in reason.message


def test_a_node_that_calls_but_lacks_the_job_was_restarted() -> None:
    node = replace(make_node("laptop"), seen_at=NOW + 11.9)
    reason = lost(HELD, {node.id: node}, NOW + 12)
    assert reason is not None
    assert "restarted" in reason.message


def test_a_job_is_overdue_only_far_beyond_its_limit() -> None:
    attempt = Attempt(1, "node-laptop", "laptop", NOW, started_at=NOW)
    job = replace(HELD, attempts=(attempt,))
    limit = job.spec.limits.wall_s
    assert overdue(job, NOW + limit + OVERRUN_S) is None
    reason = overdue(job, NOW + limit + OVERRUN_S + 1)
    assert reason is not None
    assert reason.code is ReasonCode.LIMIT_WALL_TIME


def test_a_job_that_never_started_is_not_overdue() -> None:
    assert overdue(HELD, NOW + 10**9) is None
