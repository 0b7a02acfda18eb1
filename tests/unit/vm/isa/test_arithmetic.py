"""Fused multiply-add against rational arithmetic: every bit, from subnormals to overflow."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.isa.arithmetic import Exact, fma
from bcai.vm.isa.types import Array, DType

FORMATS = {32: (24, -149, 127), 64: (53, -1074, 1023)}
"""Width: digits, exponent of the least subnormal, greatest exponent."""


def round_to_nearest(exact: Fraction, width: int) -> float:
    """The nearest float of a width, ties to even, of a number that is not 0."""
    digits, least, most = FORMATS[width]
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - digits + 1, least)
    rounded = round(magnitude / unit) * unit  # Python rounds halves to even
    size = math.inf if rounded >= Fraction(2) ** (most + 1) else float(rounded)
    return size if exact > 0 else -size


def expected_fma(a: float, b: float, c: float, width: int) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a == 0 or b == 0 or c == 0 else 0.0
    return round_to_nearest(exact, width)


def floats(width: int) -> st.SearchStrategy[float]:
    plain = st.floats(width=32 if width == 32 else 64, allow_nan=False, allow_infinity=False)
    digits, least, _ = FORMATS[width]
    near_the_ends = st.builds(
        math.ldexp,
        st.integers(-(2**digits) + 1, 2**digits - 1),
        st.integers(least, least + 8) | st.integers(-digits, -digits + 8),
    )
    return plain | near_the_ends


@given(floats(32), floats(32), floats(32))
@settings(max_examples=1500, deadline=None)
def test_float32_is_rounded_once(a: float, b: float, c: float) -> None:
    check(a, b, c, 32)


@given(floats(64), floats(64), floats(64))
@settings(max_examples=1500, deadline=None)
def test_float64_is_rounded_once(a: float, b: float, c: float) -> None:
    check(a, b, c, 64)


@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_cancellation(width: int, data: st.DataObject) -> None:
    """C is beside -a * b: all digits of the product show."""
    a, b = data.draw(floats(width)), data.draw(floats(width))
    kind = np.float32 if width == 32 else np.float64
    with np.errstate(all="ignore"):
        product = kind(a) * kind(b)
    if np.isfinite(product):
        check(a, b, -float(np.nextafter(product, kind(data.draw(floats(width))))), width)
        check(a, b, -float(product), width)


def check(a: float, b: float, c: float, width: int) -> None:
    kind = np.float32 if width == 32 else np.float64
    found = fma(*(np.asarray(each, kind) for each in (a, b, c)))
    expected = kind(expected_fma(a, b, c, width))
    assert found.dtype == kind
    assert np.asarray(found).tobytes() == expected.tobytes(), (found, expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_special_values(kind: type[np.floating[Any]]) -> None:
    def of(a: float, b: float, c: float) -> float:
        return float(fma(*(np.asarray(each, kind) for each in (a, b, c))))

    inf, nan = math.inf, math.nan
    assert of(inf, 1, 5) == inf
    assert of(inf, -1, 5) == -inf
    assert of(1, 1, -inf) == -inf
    assert all(math.isnan(of(*each)) for each in [(inf, 0, 1), (inf, 1, -inf), (nan, 0, 0)])
    assert math.copysign(1, of(-0.0, 1, -0.0)) == -1
    assert math.copysign(1, of(-0.0, 1, 0.0)) == 1
    assert math.copysign(1, of(3, 5, -15)) == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scalars_vectors_and_strides_agree(kind: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(0)
    bits = np.int32 if kind is np.float32 else np.int64
    limits = np.iinfo(bits)
    a, b, c = (
        random.integers(limits.min, limits.max, 400, dtype=bits).view(kind) for _ in range(3)
    )
    whole = fma(a, b, c)
    assert same(fma(a[::3], b[::3], c[::3]), whole[::3])
    assert same(fma(a[::-1], b[::-1], c[::-1]), whole[::-1])
    single: list[Array] = [fma(a[i], b[i], c[i]) for i in range(a.size)]
    assert same(np.asarray(single), whole)


def same(a: Array, b: Array) -> bool:
    """Same bits, one not-a-number being as good as another."""
    both = np.isnan(a) & np.isnan(b)
    zero = np.zeros((), a.dtype)
    return np.where(both, zero, a).tobytes() == np.where(both, zero, b).tobytes()


def test_integers_have_the_width_of_the_format() -> None:
    assert Exact(DType.float32).integer(1 << 31) == -(1 << 31)
    assert Exact(DType.float64).integer(1 << 31) == 1 << 31
    assert Exact(DType.float32).iadd(*np.asarray([[2**31 - 1], [1]], np.int32)) == -(2**31)


def test_only_two_formats() -> None:
    with pytest.raises(ValueError, match="float16"):
        Exact(DType.float16)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_product_that_would_overflow_does_not_meet_an_infinity(
    kind: type[np.floating[Any]],
) -> None:
    large = np.array([np.finfo(kind).max], kind)
    infinity = np.array([np.inf], kind)
    assert fma(large, large, -infinity)[0] == -np.inf
    assert fma(large, -large, infinity)[0] == np.inf
