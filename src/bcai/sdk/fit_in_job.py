"""`bcai.fit` in the script of a job: the node trains, outside the script's jail."""

from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError
from bcai.bridge.report import TrainedState, Trainer

if TYPE_CHECKING:
    from bcai.sdk.training import TrainingPlan


def check_job_options(
    trainer: Trainer, *, client: Any, resume: Any, verify: str, stop_on_nan: bool
) -> None:
    """Refuse, before anything is exported, what a script in a job cannot have.

    Raises
    ------
    InputError
        The message names it.
    """
    trainer.check()
    if client is not None:
        raise InputError(
            "client: a script in a job has no network; its own node does the training",
            hint="leave client out",
        )
    if resume is not None:
        raise InputError(
            "resume: a job has one training, so there is no earlier one to go on from",
            hint="ask for all epochs at once, or go on where you are",
        )
    if verify != "none":
        raise InputError(
            f"verify: found {verify!r}, but a script in a job cannot have its training checked",
            hint="call bcai.fit where you are: then the training is the job",
        )
    if stop_on_nan:
        raise InputError(
            "stop_on_nan: the node of a script in a job trains to the end",
            hint="leave it out: there is a warning at the end; or call bcai.fit where you are",
        )


def train_in_job(trainer: Trainer, plan: "TrainingPlan") -> TrainedState:
    """Hand a plan to the node, and wait for what it leaves.

    Raises
    ------
    JobFailedError
        The node refuses the training, or it failed.
    """
    from bcai.proof.run import encode_run
    from bcai.vm.program.codec import encode_program

    program, run = encode_program(plan.step.program), encode_run(plan.run)
    return trainer.train(program, run, plan.rows, plan.state)
