"""A training that is watched: what is said of bad losses, and what becomes of a job left alone."""

import inspect
import logging
import math
import signal
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
from tests.unit.sdk.test_training_plan import plan

from bcai import InputError, JobCancelledError
from bcai.base.errors import UnreachableError
from bcai.sdk import notices
from bcai.sdk.events import Event, MetricEvent
from bcai.sdk.fit import fit, submit_fit
from bcai.sdk.fit_options import FitOptions
from bcai.sdk.job import Job
from bcai.sdk.pending_training import PendingTraining, cancelled_if_left
from bcai.sdk.training_data import warn_of_columns

LOSSES = [0.5, math.nan, math.inf, 0.25]


class Summary:
    def __init__(self, *, is_final: bool) -> None:
        self.state = type("State", (), {"is_final": is_final})


class Left:
    """A job that tells its losses and knows whether it was cancelled."""

    id = "job_1"

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over, self.cancelled = is_over, 0

    @property
    def summary(self) -> Summary:
        return Summary(is_final=self.is_over)

    def events(self) -> Iterator[Event]:
        for step, loss in enumerate(LOSSES):
            yield MetricEvent(step + 1, 0.0, 1, step, {"loss": loss})

    def cancel(self) -> None:
        self.cancelled += 1

    def wait(self, *, check: bool) -> str:
        assert not check
        return "the result"


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was said before in this process."""
    monkeypatch.setattr(notices, "_seen", set[str]())
    caplog.set_level(logging.WARNING)


def pending(job: Left) -> PendingTraining:
    return PendingTraining(cast("Job", job), None, plan(epochs=2), earlier={}, own_client=None)  # pyright: ignore[reportArgumentType]


def test_a_bad_loss_is_told_once_with_its_step(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []
    pending(Left()).follow(lambda done, steps, values: heard.append(done), stop_on_nan=False)
    assert heard == [1, 2, 3, 4]
    (said,) = caplog.messages
    assert "step 1 of 4: loss is nan; the training goes on" in said


def test_a_bad_loss_ends_the_job_if_that_was_asked_for() -> None:
    job = Left()
    with pytest.raises(
        JobCancelledError, match="job_1 cancelled: step 1 of 4: loss is nan"
    ) as info:
        pending(job).follow(lambda done, steps, values: None, stop_on_nan=True)
    assert job.cancelled == 1
    assert info.value.result == "the result"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UnreachableError])
def test_a_job_that_nobody_waits_for_is_cancelled(error: type[BaseException]) -> None:
    job = Left()
    with pytest.raises(error), cancelled_if_left(cast("Job", job)):
        raise error("left")
    assert job.cancelled == 1


def test_a_job_that_is_over_is_not() -> None:
    job = Left(is_over=True)
    with pytest.raises(ValueError, match="left"), cancelled_if_left(cast("Job", job)):
        raise ValueError("left")
    assert job.cancelled == 0


def test_sigterm_cancels_and_ends_python_as_exit_does() -> None:
    job = Left()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as info, cancelled_if_left(cast("Job", job)):
        signal.raise_signal(signal.SIGTERM)
    assert (info.value.code, job.cancelled) == (143, 1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_of_the_users_own_stays() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        with cancelled_if_left(cast("Job", Left(is_over=True))):
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_columns_that_are_not_finite_are_named(caplog: pytest.LogCaptureFixture) -> None:
    column = np.ones((5, 2), np.float32)
    warn_of_columns({0: column, 1: np.arange(5)})
    assert not caplog.messages
    column[3], column[4, 1] = math.inf, math.nan
    warn_of_columns({0: column})
    (said,) = caplog.messages
    assert "data column 0: 2 of 5 rows have values that are not finite, the first is inf" in said
    assert said.endswith("in row 3")


def test_submit_fit_takes_what_fit_takes() -> None:
    there = inspect.signature(fit).parameters
    assert set(there) - {"model", "data", "on_step", "stop_on_nan"} == set(
        FitOptions.__annotations__
    )
    with pytest.raises(InputError, match="model: found None"):
        submit_fit(None, (np.zeros((4, 1)), np.zeros(4)), batch_size=2)  # pyright: ignore[reportArgumentType]
