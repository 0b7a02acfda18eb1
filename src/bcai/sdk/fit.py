"""`bcai.fit`: train a model as a job, with a trace that anyone can check, and use the result."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError
from bcai.bridge import report
from bcai.bridge.report import TrainedState
from bcai.jobs.training import FINAL_STATE, HISTORY
from bcai.sdk.arrays import read_arrays
from bcai.sdk.client import SDK
from bcai.sdk.draft import Quantity
from bcai.sdk.events import MetricEvent
from bcai.sdk.fit_in_job import check_job_options, train_in_job
from bcai.sdk.job import Job
from bcai.sdk.learning_rate import LearningRate
from bcai.sdk.result import Result
from bcai.sdk.save import RECEIPT, write_atomically
from bcai.sdk.training import Start, TrainingPlan, draft_training, plan_training

if TYPE_CHECKING:
    from bcai.proof.receipt import Receipt
    from bcai.proof.recorder import Trace
    from bcai.proof.run import Run
    from bcai.sdk.training import Model, Parameters
    from bcai.vm.compiler.training_step import Optimizer
    from bcai.vm.isa.types import Array

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Is told the steps done, how many there are, and the values of the last one."""


@dataclass(frozen=True, slots=True, repr=False)
class Trained:
    """A model after its training.

    Attributes
    ----------
    model
        What was given to `fit`; it is not changed. `bcai.to_torch` puts the weights in a module.
    parameters
        The model's parameters and buffers after the last step, by name.
    state
        These and the optimizer's: where a further run would start.
    history
        What each step put out, such as `loss`: float32[steps].
    run
        What was committed before the job started.
    trace
        The checkpoints of the run, with the root of its state at each.
    receipt_bytes
        What the node signed, as the file that `bcai receipt check` reads.
    job_result
        The result of the training's own job; None if it was trained within another job.
    rows, first_state
        What the run started from: with the receipt, all that it takes to do it again.
    """

    model: "Model"
    parameters: "dict[str, Array]"
    state: "dict[str, Array]"
    history: "dict[str, Array]"
    run: "Run"
    trace: "Trace"
    receipt_bytes: bytes
    job_result: Result | None
    rows: "dict[str, Array]"
    first_state: "dict[str, Array]"

    def __repr__(self) -> str:
        """Sum it up: the parameters of a model would fill the screen."""
        last = "".join(f", {name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"<Trained: {self.run.steps} steps{last}, state {self.trace.final_state.hex()[:16]}>"

    @property
    def losses(self) -> "Array":
        """The loss of each step: float32[steps]."""
        return self.history["loss"]

    @property
    def result(self) -> Result:
        """The job's result, with the node's receipt.

        Raises
        ------
        InputError
            This is within a job, whose result is not there before its end.
        """
        if self.job_result is None:
            raise InputError(
                "result: trained within a job, which has no result before it ends",
                hint="the receipt is here already: .receipt; the job's own result has it, too",
            )
        return self.job_result

    @property
    def receipt(self) -> "Receipt":
        """What the node signed. It is not yet checked."""
        from bcai.proof.receipt import decode_receipt

        return decode_receipt(self.receipt_bytes)

    def predict(self, inputs: Any, *, batch_size: int = 256, output: str | None = None) -> "Array":
        """What the trained model says of some inputs; see `bcai.predict`."""
        from bcai.sdk.predict import predict

        return predict(
            self.model, inputs, parameters=self.parameters, batch_size=batch_size, output=output
        )

    def evaluate(
        self,
        data: Any,
        metrics: str | Sequence[str] = ("accuracy",),
        *,
        batch_size: int = 256,
        output: str | None = None,
    ) -> dict[str, float]:
        """How well the trained model does on some data; see `bcai.evaluate`."""
        from bcai.sdk.predict import evaluate

        return evaluate(
            self.model,
            data,
            metrics,
            parameters=self.parameters,
            batch_size=batch_size,
            output=output,
        )

    def save(self, folder: str | PathLike[str]) -> dict[str, Path]:
        """Write everything to a folder; see `Result.save`.

        With `rows.safetensors` and `first_state.safetensors`, `bcai replay` does the run again.
        """
        from safetensors.numpy import save

        tensors = {"rows": self.rows, "first_state": self.first_state}
        if self.job_result is not None:
            written = self.job_result.save(folder)
        else:
            written = {"receipt": Path(folder) / RECEIPT}
            written["receipt"].parent.mkdir(parents=True, exist_ok=True)
            write_atomically(written["receipt"], self.receipt_bytes)
            tensors |= {FINAL_STATE: self.state, HISTORY: self.history}
        for name, values in tensors.items():
            written[name] = Path(folder) / f"{name}.safetensors"
            write_atomically(written[name], save(values))
        return written


def fit(
    model: "Model",
    data: Any,
    *,
    loss: "str | Callable[[Any, Any], Any] | None" = None,
    optimizer: "str | Optimizer" = "adamw",
    learning_rate: LearningRate = 1e-3,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    shuffle: bool = True,
    max_norm: float | None = None,
    parameters: "Parameters | None" = None,
    checkpoint_every: int | None = None,
    resume: "Trained | None" = None,
    client: SDK | None = None,
    on_step: OnStep | None = None,
    name: str | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    labels: Mapping[str, str] | None = None,
    verify: str = "none",
) -> Trained:
    """Train a model on the network: the same bits on every computer, and evidence of every step.

    Ctrl-C cancels the job.

    Parameters
    ----------
    model
        A PyTorch module, which is exported and not changed; or a Program that puts out `loss`,
        with its `parameters` (or the pair of both that `from_torch` gives).
    data
        Columns with one row for each example: `(x, y)`, or `{"x": x, "target": y}` by the names
        of the model's arguments, or a data set. The target is the last, or called `target`.
    loss
        As for `from_torch`: a name such as `cross_entropy`, a module or a function.
    optimizer
        `adamw`, `adam`, `sgd`, or `bcai.AdamW(...)`, `bcai.Sgd(...)`.
    learning_rate
        A number; a list with one for each step; `{step: value}` with straight lines between; or a
        function of the step, such as `bcai.cosine(1e-3, steps)`.
    epochs, batch_size
        Each epoch has every row once, in whole batches; the rest of its order is dropped.
    seed
        Decides the order of the rows and the model's random numbers, such as dropout's.
    max_norm
        Clip all gradients to this common norm.
    checkpoint_every
        Steps between two roots of the state in the trace; None: 10, or 100 where the state has
        less than 4 MiB.
    resume
        Go on after an earlier run of the same kind, with more epochs: the same bits as one run.
    client
        None: the network of the settings, else the one on this machine; in a job, its own node.
    on_step
        Is told how far the training is, some times a second; None: a line on the terminal. In a
        job it is told the last step alone: the job's metrics have the others.
    verify
        Who checks the result: `none`, `full` (a challenger does the training again), or
        `audited:0.1` (it does one in ten); see `Result.settlement`.
    name, limits, timeout, max_retries, labels
        As for `SDK.create_job`. Within a job, its own hold.

    Raises
    ------
    InputError
        Something is wrong; the message names it.
    JobFailedError, JobCancelledError, JobTimedOutError
        The job ended without success; `.result` tells all about it.
    """
    if on_step is not None and not callable(on_step):
        raise InputError(f"on_step: found {on_step!r}, expected a function (done, steps, values)")
    trainer = report.trainer()
    if trainer is not None:
        check_job_options(trainer, client=client, resume=resume, verify=verify)
    plan = plan_training(
        model,
        data,
        loss=loss,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        max_norm=max_norm,
        parameters=parameters,
        checkpoint_every=checkpoint_every,
    )
    if trainer is not None:
        return _trained_in_job(model, plan, train_in_job(trainer, plan), on_step)
    if resume is not None:
        plan = _continued(plan, resume)
    draft = draft_training(
        plan, name=name, limits=limits, timeout=timeout, max_retries=max_retries, labels=labels,
        verify=verify,
    )  # fmt: skip
    with _Client(client) as sdk:
        job = sdk.job_of(draft).submit()
        try:
            _follow(job, plan.run.steps, on_step or _line_on_terminal)
            result = job.wait()
        except KeyboardInterrupt:
            job.cancel()  # nobody could come back to it: its plan is here
            raise
        return _trained(model, plan, result, resume.history if resume else {})


class _Client:
    """The user's client, or one of our own that is closed in the end."""

    def __init__(self, given: SDK | None) -> None:
        self._given = given
        self._own = SDK() if given is None else None

    def __enter__(self) -> SDK:
        found = self._given or self._own
        assert found is not None
        return found

    def __exit__(self, *error: object) -> None:
        if self._own is not None:
            self._own.close()


def _continued(plan: TrainingPlan, earlier: object) -> TrainingPlan:
    """A plan that starts where an earlier run of the same kind ended."""
    if not isinstance(earlier, Trained):
        raise InputError(f"resume: found {type(earlier).__name__}, expected what fit returned")
    past, run = earlier.run, plan.run
    same = replace(run, steps=past.steps, schedules=past.schedules)
    differing = [
        name
        for name in ("program_root", "first_state", "seed", "feed", "checkpoint_every")
        if getattr(same, name) != getattr(past, name)
    ]
    if differing:
        raise InputError(
            f"resume: the earlier run differs in {', '.join(differing)}",
            hint="give fit the same model, data and options as then, and more epochs",
        )
    step = next((step for step in range(past.steps) if _rate(run, step) != _rate(past, step)), None)
    if step is not None:
        raise InputError(
            f"resume: the learning rate of step {step} is {float(_rate(run, step))!r}, the earlier "
            f"run had {float(_rate(past, step))!r}",
            hint="a schedule must not depend on how many steps there are in all",
        )
    if run.steps <= past.steps:
        raise InputError(
            f"resume: the earlier run has {past.steps} steps already, this one {run.steps}",
            hint="epochs counts from the very beginning",
        )
    if past.steps % past.checkpoint_every:
        raise InputError(
            f"resume: the earlier run ends after {past.steps} steps, between two checkpoints",
            hint=f"a checkpoint is every {past.checkpoint_every} steps; choose checkpoint_every "
            "so that it divides the steps of an epoch",
        )
    return replace(plan, start=Start(earlier.state, earlier.trace))


def _rate(run: "Run", step: int) -> Fraction:
    from bcai.proof.schedule import value_at

    return Fraction(*value_at(run.schedules["learning_rate"], step))


def _follow(job: Job, steps: int, on_step: OnStep) -> None:
    for event in job.events():
        if isinstance(event, MetricEvent) and event.step is not None:
            on_step(event.step + 1, steps, event.values)


def _line_on_terminal(done: int, steps: int, values: Mapping[str, float]) -> None:
    if not sys.stderr.isatty():
        return
    shown = "".join(f", {name} {value:.4g}" for name, value in values.items())
    end = "\n" if done == steps else ""
    sys.stderr.write(f"\r\x1b[Kstep {done:,} of {steps:,}{shown}{end}")
    sys.stderr.flush()


def _trained_in_job(
    model: "Model", plan: TrainingPlan, left: TrainedState, on_step: OnStep | None
) -> Trained:
    from bcai.proof.receipt import decode_receipt

    steps = plan.run.steps
    if on_step is not None:
        on_step(steps, steps, {name: float(values[-1]) for name, values in left.history.items()})
    return Trained(
        model=model,
        parameters={name: left.state[name] for name in plan.parameters},
        state=left.state,
        history=left.history,
        run=plan.run,
        trace=decode_receipt(left.receipt).trace,
        receipt_bytes=left.receipt,
        job_result=None,
        rows=plan.rows,
        first_state=plan.state,
    )


def _trained(
    model: "Model", plan: TrainingPlan, result: Result, earlier: "Mapping[str, Array]"
) -> Trained:
    import numpy as np

    from bcai.proof.receipt import decode_receipt

    content = result.outputs.content(FINAL_STATE)
    state = read_arrays(content, FINAL_STATE, widen=False)
    found: dict[str, Array] = result.outputs[HISTORY]
    history = {
        name: np.concatenate([earlier.get(name, values[:0]), values])
        for name, values in found.items()
    }
    receipt = result.receipt_bytes
    assert receipt is not None, "every training leaves a receipt"
    return Trained(
        model=model,
        parameters={name: state[name] for name in plan.parameters},
        state=state,
        history=history,
        run=plan.run,
        trace=decode_receipt(receipt).trace,
        receipt_bytes=receipt,
        job_result=result,
        rows=plan.rows,
        first_state=plan.state,
    )
