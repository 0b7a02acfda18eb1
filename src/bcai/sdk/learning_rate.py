"""Learning rates as a run commits to them: values at steps, with straight lines between."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, cast

from bcai.base.errors import InputError

if TYPE_CHECKING:
    from bcai.proof.schedule import Knot

LearningRate = float | Sequence[float] | Mapping[int, float] | Callable[[int], float]


def knots_of(rate: LearningRate, steps: int) -> "tuple[Knot, ...]":
    """The knots of a learning rate.

    Parameters
    ----------
    rate
        A number; one for each step; some by their step, with straight lines between; or a function
        of the step, from 0, which is asked here and now for every step.

    Raises
    ------
    InputError
        A value is no finite number or below 0, or there are too few.
    """
    from bcai.proof.schedule import Knot

    pairs: list[tuple[int, float]]
    if isinstance(rate, Real):
        pairs = [(0, float(rate))]
    elif isinstance(rate, Mapping):
        pairs = [(_step(step), value) for step, value in cast("Mapping[int, float]", rate).items()]
        pairs.sort()
    elif callable(rate):
        pairs = [(step, rate(step)) for step in range(steps)]
    else:
        values = _listed(rate)
        if len(values) != steps:
            raise InputError(
                f"learning_rate: found {len(values)} values, expected {steps}: one for each step",
                hint="give {step: value} for straight lines between some steps",
            )
        pairs = list(enumerate(values))
    if not pairs:
        raise InputError("learning_rate: found no value, expected at least one")
    return _without_repeats([Knot(step, _value(step, value)) for step, value in pairs])


def cosine(peak: float, steps: int, *, warmup: int = 0, end: float = 0.0) -> Callable[[int], float]:
    """A rise in a straight line over `warmup` steps, then half a cosine from `peak` down to `end`.

    Source: arXiv:1608.03983.
    """

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return end + (peak - end) * (1 + math.cos(math.pi * done)) / 2

    return rate


def _listed(rate: object) -> list[float]:
    try:
        if not isinstance(rate, str | bytes):
            return list(cast("Sequence[float]", rate))
    except TypeError:  # it has no items
        pass
    raise InputError(f"learning_rate: found {rate!r}, expected a number, such as 1e-3")


def _step(step: object) -> int:
    if not isinstance(step, int) or step < 0:
        raise InputError(f"learning_rate: found step {step!r}, expected a whole number from 0")
    return step


def _value(step: int, value: object) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise InputError(
            f"learning_rate at step {step}: found {value!r}, expected a finite number from 0"
        )
    return float(value)


def _without_repeats(knots: "list[Knot]") -> "tuple[Knot, ...]":
    """Leave out what stands on a level line between its neighbours."""
    kept = [
        knot
        for place, knot in enumerate(knots)
        if place == 0
        or place == len(knots) - 1
        or not knots[place - 1].value == knot.value == knots[place + 1].value
    ]
    if len(kept) == 2 and kept[0].value == kept[1].value:
        kept.pop()
    return tuple(kept)
