"""Inputs that change by a rule, such as a learning rate: straight lines between knots.

The value at a step is computed exactly, as a fraction, and rounded once to the port's element
type: no machine's library of functions has a say. Another curve is given as one knot for each step.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.isa.types import Array, DType

_PRECISION = {DType.float32: (24, -126), DType.float64: (53, -1022), DType.float16: (11, -14),
              DType.bfloat16: (8, -126)}  # fmt: skip
"""Binary digits, and the exponent of the smallest normal number; none reaches 2^(2 - that)."""


class Knot(NamedTuple):
    """At this step, this value."""

    step: int
    value: float


def value_at(knots: Sequence[Knot], step: int) -> Fraction:
    """The exact value at a step; before the first knot and after the last it stays as there."""
    place = bisect_right(knots, step, key=_step_of)
    if place == 0:
        return Fraction(knots[0].value)
    left = knots[place - 1]
    if place == len(knots) or left.step == step:
        return Fraction(left.value)
    right = knots[place]
    rise = Fraction(right.value) - Fraction(left.value)
    return Fraction(left.value) + rise * (step - left.step) / (right.step - left.step)


def rounded(value: Fraction, dtype: DType) -> Array:
    """The nearest number of a float type, ties to even, as a scalar.

    Raises
    ------
    InputError
        It is beyond the type's largest number.
    """
    digits, lowest = _PRECISION[dtype]
    exponent = max(_exponent(value), lowest) if value else lowest
    quantum = Fraction(2) ** (exponent - digits + 1)
    whole = round(value / quantum)  # ties go to even
    if abs(whole) * quantum >= Fraction(2) ** (1 - lowest + 1):
        raise InputError(f"the value is beyond the largest {dtype.name}")
    return np.asarray(float(whole * quantum)).astype(dtype.numpy)


def _exponent(value: Fraction) -> int:
    """The largest power of 2 that is not above the size of a value."""
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= size else exponent - 1


def _step_of(knot: Knot) -> int:
    return knot.step
