"""Inputs that change by a rule, such as a learning rate: straight lines between knots.

The value at a step is computed exactly, as a fraction, and rounded once to the port's element
type: no machine's library of functions has a say. Another curve is given as one knot for each step.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
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


def value_at(knots: Sequence[Knot], step: int) -> tuple[int, int]:
    """The exact value at a step, as whole numbers over and under the line.

    Before the first knot and after the last it stays as there.
    """
    place = bisect_right(knots, step, key=_step_of)
    left = knots[max(place - 1, 0)]
    top, bottom = left.value.as_integer_ratio()
    if place in (0, len(knots)) or left.step == step:
        return top, bottom
    right = knots[place]
    right_top, right_bottom = right.value.as_integer_ratio()
    span, gone = right.step - left.step, step - left.step
    weighted = top * right_bottom * (span - gone) + right_top * bottom * gone
    return weighted, bottom * right_bottom * span


def rounded(top: int, bottom: int, dtype: DType) -> Array:
    """The number of a float type nearest to `top / bottom`, ties to even, as a scalar.

    Raises
    ------
    InputError
        It is beyond the type's largest number.
    """
    digits, lowest = _PRECISION[dtype]
    size = abs(top)
    exponent = size.bit_length() - bottom.bit_length()
    if size << max(-exponent, 0) < bottom << max(exponent, 0):
        exponent -= 1  # now the largest power of 2 that is not above the value
    shift = digits - 1 - max(exponent, lowest)
    whole, rest = divmod(size << max(shift, 0), under := bottom << max(-shift, 0))
    if 2 * rest > under or (2 * rest == under and whole & 1):
        whole += 1
    if whole.bit_length() - shift > 2 - lowest:
        raise InputError(f"the value is beyond the largest {dtype.name}")
    value = math.ldexp(whole, -shift)
    return np.asarray(-value if top < 0 else value).astype(dtype.numpy)


def _step_of(knot: Knot) -> int:
    return knot.step
