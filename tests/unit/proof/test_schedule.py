"""Schedules are exact, and rounded once."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bcai.base.errors import InputError
from bcai.proof.schedule import Knot, value_at
from bcai.proof.schedule import rounded as rounded_ratio
from bcai.vm.isa.types import Array, DType

WARMUP = (Knot(10, 0.0), Knot(20, 1.0), Knot(50, 0.25))


def rounded(value: Fraction, dtype: DType) -> Array:
    found = rounded_ratio(value.numerator, value.denominator, dtype)
    unreduced = rounded_ratio(value.numerator * 6, value.denominator * 6, dtype)
    assert found.tobytes() == unreduced.tobytes()
    return found


def test_lines_between_knots_and_level_outside() -> None:
    found = [Fraction(*value_at(WARMUP, step)) for step in (0, 10, 13, 20, 30, 50, 99)]
    assert found == [0, 0, Fraction(3, 10), 1, Fraction(3, 4), Fraction(1, 4), Fraction(1, 4)]


def test_one_knot_is_a_constant() -> None:
    assert {value_at((Knot(0, 0.1),), step) for step in range(5)} == {(0.1).as_integer_ratio()}


@given(st.fractions() | st.floats(allow_nan=False, allow_infinity=False).map(Fraction))
@example(Fraction(0))
@example(Fraction(5e-324) / 2)
@example(Fraction(5e-324) * 3 / 2)
@example(Fraction(-(2**1024 - 2**970 - 1)))
def test_float64_is_pythons_division(value: Fraction) -> None:
    found = rounded(value, DType.float64)
    assert found.dtype == np.float64
    assert found.shape == ()
    assert float(found) == value.numerator / value.denominator


@given(st.floats(0, 2.0**120, width=32), st.integers(0, 8))
def test_float32_is_the_nearest(near: float, eighths: int) -> None:
    """Between two neighbours the nearer wins, at the middle the one with an even last bit."""
    low = np.asarray(near, np.float32)
    high = np.nextafter(low, np.float32(np.inf))
    gap = Fraction(float(high)) - Fraction(float(low))
    even = low if int(low.view(np.uint32)) % 2 == 0 else high
    expected = low if eighths < 4 else high if eighths > 4 else even
    found = rounded(Fraction(float(low)) + gap * Fraction(eighths, 8), DType.float32)
    assert found == expected
    assert rounded(-Fraction(float(low)), DType.float32) == -low


def test_rounding_happens_once() -> None:
    """Just above the middle of two float32 neighbours, by less than a float64 can say."""
    value = 1 + Fraction(1, 2**24) + Fraction(1, 2**80)
    assert np.float32(float(value)) == 1.0  # the control: by way of float64 it goes down
    assert rounded(value, DType.float32) == np.float32(1 + 2**-23)


@pytest.mark.parametrize("dtype", [DType.float32, DType.float16, DType.bfloat16])
@given(step=st.integers(0, 60))
def test_narrow_types_agree_with_numpy_where_it_is_exact(dtype: DType, step: int) -> None:
    value = Fraction(step, 64)
    assert rounded(value, dtype) == np.asarray(step / 64).astype(dtype.numpy)
    assert rounded(-value, dtype).dtype == dtype.numpy


def test_beyond_the_largest_is_refused() -> None:
    largest = Fraction(float(np.finfo(np.float32).max))
    assert rounded(largest, DType.float32) == np.finfo(np.float32).max
    with pytest.raises(InputError, match="beyond the largest float32"):
        rounded(largest + Fraction(2) ** 104, DType.float32)
