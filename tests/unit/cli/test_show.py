from dataclasses import replace

import pytest
from tests.unit.cli.sample_jobs import failure, job

from bcai.cli.jobs.show import print_job
from bcai.jobs.job import Attempt
from bcai.jobs.outcome import Reason, ReasonCode

LOST = Reason(ReasonCode.NODE_LOST, "the node fell silent")
FULL = Reason(ReasonCode.NODE_ERROR, "the node's disk is full")


def attempt(number: int, reason: Reason) -> Attempt:
    return replace(job().attempts[0], number=number, reason=reason)


def test_attempts_that_ended_alike_share_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    attempts = (attempt(1, LOST), attempt(2, LOST), attempt(3, LOST), attempt(4, FULL))
    view = job(failure("gave up")).model_copy(update={"attempts": attempts})
    print_job(view)
    shown = capsys.readouterr().out
    assert shown.count("the node fell silent") == 1
    assert "attempts 1 to 3" in shown
    assert "attempt 4" in shown
    assert "disk is full" in shown
