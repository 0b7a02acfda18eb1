"""`bcai.fit`: train a model as a job, with a trace that anyone can check, and use the result."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from bcai.base.errors import InputError
from bcai.bridge import report
from bcai.bridge.report import Trainer
from bcai.sdk.client import SDK
from bcai.sdk.draft import Quantity
from bcai.sdk.fit_in_job import check_job_options, train_in_job
from bcai.sdk.fit_options import DRAFTED, FitOptions
from bcai.sdk.learning_rate import LearningRate
from bcai.sdk.pending_training import OnStep, PendingTraining, cancelled_if_left, warn_of
from bcai.sdk.resume import continued
from bcai.sdk.trained import Trained, trained_in_job
from bcai.sdk.training import TrainingPlan, draft_training, plan_training
from bcai.sdk.training_progress import ProgressLine

if TYPE_CHECKING:
    from bcai.sdk.training import Model, Parameters
    from bcai.vm.compiler.training_step import Optimizer

__all__ = ["OnStep", "PendingTraining", "Trained", "fit", "submit_fit"]


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
    stop_on_nan: bool = False,
    name: str | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    labels: Mapping[str, str] | None = None,
    verify: str = "none",
) -> Trained:
    """Train a model on the network: the same bits on every computer, and evidence of every step.

    Ctrl-C cancels the job, and so does SIGTERM; `submit_fit` does not wait.

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
        Is told how far the training is, some times a second; None: a line on the terminal, or
        one every half minute where stderr is none. In a job it is told the last step alone: the
        job's metrics have the others.
    stop_on_nan
        Cancel the job at the first loss that is not finite; else there is a warning, with the step.
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
    options: FitOptions = {
        "loss": loss,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "shuffle": shuffle,
        "max_norm": max_norm,
        "parameters": parameters,
        "checkpoint_every": checkpoint_every,
        "resume": resume,
        "client": client,
        "name": name,
        "limits": limits,
        "timeout": timeout,
        "max_retries": max_retries,
        "labels": labels,
        "verify": verify,
    }
    trainer = report.trainer()
    if trainer is not None:
        check_job_options(
            trainer, client=client, resume=resume, verify=verify, stop_on_nan=stop_on_nan
        )
        return _fit_in_job(trainer, model, _plan(model, data, options), on_step)
    pending = submit_fit(model, data, **options)
    with cancelled_if_left(pending.job):
        pending.follow(on_step or ProgressLine(), stop_on_nan=stop_on_nan)
        return pending.result()


def submit_fit(model: "Model", data: Any, **options: Unpack[FitOptions]) -> PendingTraining:
    """Start a training and return: `.result()` waits for the model.

    It takes what `fit` takes, but `on_step` and `stop_on_nan`, which are for those who watch.

    Raises
    ------
    InputError
        Something is wrong, or this is within a job; the message names it.
    """
    if report.trainer() is not None:
        raise InputError(
            "submit_fit: a script in a job waits until its node has trained", hint="call bcai.fit"
        )
    plan = _plan(model, data, options)
    resume, client = options.get("resume"), options.get("client")
    if resume is not None:
        plan = continued(plan, resume)
    given: dict[str, Any] = {name: each for name, each in options.items() if name in DRAFTED}
    draft = draft_training(plan, **given)
    own_client = None if client else SDK()
    job = (client or own_client or SDK()).job_of(draft).submit()
    earlier = resume.history if resume else {}
    return PendingTraining(job, model, plan, earlier=earlier, own_client=own_client)


def _plan(model: "Model", data: Any, options: FitOptions) -> TrainingPlan:
    others = (*DRAFTED, "resume", "client")
    given: dict[str, Any] = {name: each for name, each in options.items() if name not in others}
    return plan_training(model, data, **given)


def _fit_in_job(
    trainer: Trainer, model: "Model", plan: TrainingPlan, on_step: OnStep | None
) -> Trained:
    trained = trained_in_job(model, plan, train_in_job(trainer, plan))
    steps = plan.run.steps
    warn_of(trained.history, steps)
    if on_step is not None:
        last = {name: float(values[-1]) for name, values in trained.history.items()}
        on_step(steps, steps, last)
    return trained
