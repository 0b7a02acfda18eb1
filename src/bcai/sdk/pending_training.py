"""A training that goes on: how far it is, its result, and what becomes of it if nobody waits."""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from types import FrameType
from typing import TYPE_CHECKING

from bcai.base.errors import BcaiError, JobCancelledError
from bcai.sdk.client import SDK
from bcai.sdk.events import MetricEvent
from bcai.sdk.job import Job
from bcai.sdk.notices import say_of_job
from bcai.sdk.trained import Trained, trained_by_job
from bcai.sdk.training import TrainingPlan

if TYPE_CHECKING:
    from bcai.sdk.training import Model
    from bcai.vm.isa.types import Array

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Is told the steps done, how many there are, and the values of the last one."""

_EXIT_TERMINATED = 128 + signal.SIGTERM


class PendingTraining:
    """What `submit_fit` returns: the job goes on, and `result()` waits for the model.

    Attributes
    ----------
    job
        The training's job; `job.events()` and `job.metrics` tell what it does.
    """

    def __init__(
        self,
        job: Job,
        model: "Model",
        plan: TrainingPlan,
        *,
        earlier: "Mapping[str, Array]",
        own_client: SDK | None,
    ) -> None:
        self.job = job
        self._model, self._plan, self._earlier = model, plan, earlier
        self._own_client = own_client
        self._warned = False

    def __repr__(self) -> str:
        return f"<PendingTraining of {self._plan.run.steps} steps, {self.job!r}>"

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def status(self) -> str:
        """Name of the job's state: QUEUED, ASSIGNED, RUNNING, SUCCEEDED, FAILED, ..."""
        return self.job.status

    @property
    def progress(self) -> float:
        """How far the training is, from 0 to 100."""
        return self.job.progress

    def cancel(self) -> None:
        """Cancel the job."""
        self.job.cancel()

    def result(self, timeout: float | None = None) -> Trained:
        """Wait for the training's end. Ctrl-C leaves the job going on: call it again.

        Raises
        ------
        TimeoutError
            It did not end within `timeout` seconds; the job goes on.
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success; `.result` tells all about it.
        """
        trained = trained_by_job(self._model, self._plan, self.job.wait(timeout), self._earlier)
        warn_of(trained.history, trained.run.steps, self._warned)
        if self._own_client is not None:
            self._own_client.close()
        return trained

    def follow(self, on_step: OnStep, *, stop_on_nan: bool) -> None:
        """Tell of the steps until the job has ended. Raises JobCancelledError at a bad loss."""
        steps = self._plan.run.steps
        for event in self.job.events():
            if not isinstance(event, MetricEvent) or event.step is None:
                continue
            on_step(event.step + 1, steps, event.values)
            wrong = [name for name, value in event.values.items() if not math.isfinite(value)]
            if not wrong or self._warned:
                continue
            self._warned = True
            sentence = f"step {event.step} of {steps}: {wrong[0]} is {event.values[wrong[0]]}"
            if stop_on_nan:
                self._stop(sentence)
            say_of_job(f"{sentence}; the training goes on (stop_on_nan=True would end it)")

    def _stop(self, sentence: str) -> None:
        self.job.cancel()
        result = self.job.wait(check=False)
        error = JobCancelledError(
            f"{self.job.id} cancelled: {sentence}",
            hint="a smaller learning rate, max_norm=1.0, or data without such values may help",
        )
        error.result = result
        raise error


def warn_of(history: "Mapping[str, Array]", steps: int, warned: bool = False) -> None:
    """Say from which step on a value of the training is not finite, if nobody has said so."""
    import numpy as np

    for name, values in history.items():
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size and not warned:
            first = int(wrong[0])
            say_of_job(f"step {first} of {steps}: {name} is {values[first]}")
            return


@contextlib.contextmanager
def cancelled_if_left(job: Job) -> Generator[None]:
    """Cancel a job that nobody could come back to, if the body is left before the job has ended.

    By Ctrl-C, by an error, or by SIGTERM, which for so long ends Python as `sys.exit` does.
    """
    try:
        with _sigterm_exits():
            yield
    finally:
        if job.summary is not None and not job.summary.state.is_final:
            with contextlib.suppress(BcaiError):
                job.cancel()


@contextlib.contextmanager
def _sigterm_exits() -> Generator[None]:
    """Let SIGTERM raise SystemExit; a handler of the user's own stays as it is."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(_EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
