"""A training that goes on where an earlier one ended."""

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from bcai.base.errors import InputError
from bcai.sdk.trained import Trained
from bcai.sdk.training import Start, TrainingPlan

if TYPE_CHECKING:
    from bcai.proof.run import Run


def continued(plan: TrainingPlan, earlier: object) -> TrainingPlan:
    """A plan that starts where an earlier run of the same kind ended.

    Raises
    ------
    InputError
        It is of another kind, or does not end where this one could go on.
    """
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
