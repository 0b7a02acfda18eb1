"""Corners of elementwise instructions that their types do not say: zeros, signs, wrapping."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import InputError, VerifyError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.types import INTEGERS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder

INF, NAN = math.inf, math.nan
INTEGER_TYPES = sorted(INTEGERS)


def run(name: str, *operands: Array, **attributes: Any) -> Array:
    """Run one instruction on the reference."""
    builder = Builder()
    symbols = [builder.input(str(i), TensorType.of(each)) for i, each in enumerate(operands)]
    program = builder.finish(y=builder.emit(name, symbols, attributes)[0])
    values = {str(i): each for i, each in enumerate(operands)}
    return ReferenceInterpreter().run(program, values)["y"]


def f32(*values: float) -> Array:
    return np.asarray(values, np.float32)


def assert_bits(found: Array, expected: Sequence[float]) -> None:
    """Equal, and equal in the sign of zero."""
    wanted = np.asarray(expected, found.dtype)
    np.testing.assert_array_equal(found, wanted)
    number = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[number], np.signbit(wanted)[number])


def wrap(value: int, dtype: DType) -> int:
    """Two's complement of the type's width."""
    width = 8 * dtype.itemsize
    low = 0 if dtype is DType.uint8 else -(1 << width - 1)
    return (value - low) % (1 << width) + low


@pytest.mark.parametrize("dtype", INTEGER_TYPES, ids=lambda dtype: dtype.name)
@given(data=st.data())
def test_integers_are_those_of_python_wrapped(dtype: DType, data: st.DataObject) -> None:
    limits = np.iinfo(dtype.numpy)
    whole = st.integers(int(limits.min), int(limits.max))
    near = st.integers(max(-3, int(limits.min)), 3)
    a, b = data.draw(whole | near), data.draw(whole | near)
    x, y = np.asarray(a, dtype.numpy), np.asarray(b, dtype.numpy)
    assert run("Add", x, y) == wrap(a + b, dtype)
    assert run("Sub", x, y) == wrap(a - b, dtype)
    assert run("Mul", x, y) == wrap(a * b, dtype)
    assert run("Neg", x) == wrap(-a, dtype)
    assert run("Abs", x) == wrap(abs(a), dtype)
    assert run("Max", x, y) == max(a, b)
    assert run("Min", x, y) == min(a, b)
    if b != 0:
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        assert run("Div", x, y) == wrap(quotient, dtype)
        assert run("Mod", x, y) == a % b
        assert run("Fmod", x, y) == a - b * quotient
    if b >= 0:
        power = pow(a, b, 1 << 8 * dtype.itemsize)
        assert run("Pow", x, y) == wrap(power, dtype)
        shift = min(b, 200)
        assert run("BitShiftLeft", x, y) == wrap(a << shift, dtype)
        assert run("BitShiftRight", x, y) == a >> shift
    elif a != 0:
        assert run("Pow", x, y) == int(float(a) ** (-1 if b % 2 else -2))


@pytest.mark.parametrize("name", ["Div", "Mod", "Fmod"])
def test_an_integer_zero_divisor_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: the integer divisor at \(1,\) is 0"):
        run(name, np.asarray([1, 2]), np.asarray([1, 0]))


def test_other_integers_without_a_value_are_refused() -> None:
    with pytest.raises(InputError, match="Pow"):
        run("Pow", np.asarray([0]), np.asarray([-1]))
    with pytest.raises(InputError, match=r"BitShiftLeft: the count at \(0,\) is -1"):
        run("BitShiftLeft", np.asarray([1]), np.asarray([-1]))


def test_division_of_floats() -> None:
    a, b = f32(1, -1, 0, 1, -1, INF), f32(0, 0, 0, INF, INF, INF)
    assert_bits(run("Div", a, b), [INF, -INF, NAN, 0.0, -0.0, NAN])


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool),
)
def test_remainders_of_floats(a: float, b: float) -> None:
    python = math.fmod(a, b)
    assert_bits(run("Fmod", f32(a), f32(b)), [python])
    assert_bits(run("Mod", np.asarray([a]), np.asarray([b])), [a % b])
    found = float(run("Mod", f32(a), f32(b))[0])
    assert math.copysign(1, found) == math.copysign(1, b)
    assert abs(found) <= abs(b)


def test_remainders_at_the_ends() -> None:
    a = f32(5, -5, 5, -5, 0, -0.0, INF, 1, 6, -6)
    b = f32(INF, INF, -INF, -INF, 3, 3, 3, 0, -3, 3)
    assert_bits(run("Mod", a, b), [5, INF, -INF, -5, 0.0, 0.0, NAN, NAN, -0.0, 0.0])
    assert_bits(run("Fmod", a, b), [5, -5, 5, -5, 0.0, -0.0, NAN, NAN, 0.0, -0.0])


def test_minimum_and_maximum_order_zeros_and_keep_nan() -> None:
    a, b = f32(0.0, -0.0, -0.0, NAN, 1, NAN, INF), f32(-0.0, 0.0, -0.0, 1, NAN, INF, -INF)
    assert_bits(run("Max", a, b), [0.0, 0.0, -0.0, NAN, NAN, NAN, INF])
    assert_bits(run("Min", a, b), [-0.0, -0.0, -0.0, NAN, NAN, NAN, -INF])


def test_clamp() -> None:
    x = f32(-2, -0.0, 0.25, 2, NAN, INF)
    assert_bits(run("Clamp", x, min=0.0, max=1.0), [0.0, 0.0, 0.25, 1.0, NAN, 1.0])
    assert_bits(run("Clamp", x, min=-INF, max=1.0), [-2, -0.0, 0.25, 1.0, NAN, 1.0])
    assert_bits(run("Clamp", x, min=3.0, max=1.0), [1, 1, 1, 1, NAN, 1])
    whole = np.asarray([-200, 5, 200], np.int64).astype(np.int16)
    assert run("Clamp", whole, min=-INF, max=6.5).tolist() == [-200, 5, 6]
    with pytest.raises(VerifyError, match="not a number"):
        run("Clamp", x, min=NAN, max=1.0)


def test_signs() -> None:
    assert_bits(run("Sign", f32(-3, -0.0, 0.0, 5, INF, NAN)), [-1, 0.0, 0.0, 1, 1, NAN])
    assert_bits(run("Neg", f32(0.0, -0.0, INF)), [-0.0, 0.0, -INF])
    assert_bits(run("Abs", f32(-0.0, -INF, NAN)), [0.0, INF, NAN])


def test_rounding_to_integers() -> None:
    x = f32(-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 8388609, INF)
    assert_bits(run("Round", x), [-2, -2, -0.0, -0.0, 0, 2, 2, 8388609, INF])
    assert_bits(run("Floor", x), [-3, -2, -1, -0.0, 0, 1, 2, 8388609, INF])
    assert_bits(run("Ceil", x), [-2, -1, -0.0, -0.0, 1, 2, 3, 8388609, INF])
    assert_bits(run("Trunc", x), [-2, -1, -0.0, -0.0, 0, 1, 2, 8388609, INF])


def test_roots_and_reciprocals() -> None:
    x = f32(0.0, -0.0, 4, -1, INF)
    assert_bits(run("Sqrt", x), [0.0, -0.0, 2, NAN, INF])
    assert_bits(run("Rsqrt", x), [INF, -INF, 0.5, NAN, 0.0])
    assert_bits(run("Reciprocal", x), [INF, -INF, 0.25, -1, 0.0])


def test_comparisons_with_nan_and_zeros() -> None:
    a, b = f32(NAN, 0.0, 1), f32(NAN, -0.0, 2)
    assert run("Equal", a, b).tolist() == [False, True, False]
    assert run("NotEqual", a, b).tolist() == [True, False, True]
    assert run("Less", a, b).tolist() == [False, False, True]
    assert run("LessEqual", a, b).tolist() == [False, True, True]
    assert run("Greater", a, b).tolist() == [False, False, False]
    assert run("GreaterEqual", a, b).tolist() == [False, True, False]
    assert run("IsNan", a).tolist() == [True, False, False]
    assert run("IsInf", f32(INF, -INF, NAN, 1)).tolist() == [True, True, False, False]


def test_narrow_floats_are_rounded_once_from_float32() -> None:
    third = np.asarray([1, 3], np.float16)
    assert run("Div", third[:1], third[1:]) == np.float16(1 / 3)
    big = np.asarray([60000], np.float16)
    assert run("Fma", big, big, -big * 0 - np.float16(1)) == INF
    assert run("Exp", np.asarray([11.0], np.float16)) == np.float16(math.exp(11.0))


def test_equal_operands_share_a_gradient() -> None:
    builder = Builder()
    a, b = builder.input("a", "float64[3]"), builder.input("b", "float64[3]")
    d_a, d_b = gradients(a.emit("Max", b).sum(), [a, b])
    program = builder.finish(a=d_a, b=d_b)
    values = {"a": np.asarray([1.0, 2, 3]), "b": np.asarray([1.0, 3, 2])}
    found = ReferenceInterpreter().run(program, values)
    assert found["a"].tolist() == [0.5, 0, 1]
    assert found["b"].tolist() == [0.5, 1, 0]


def test_what_is_not_chosen_has_no_gradient() -> None:
    """Where hides a not-a-number in the branch that is not taken, in its gradient too."""
    builder = Builder()
    x = builder.input("x", "float64[2]")
    root = (x >= 0.0).emit("Where", x, x.full_like(0.0)).emit("Sqrt")
    (d,) = gradients((x > 0.0).emit("Where", root, x.full_like(0.0)).sum(), [x])
    found = ReferenceInterpreter().run(builder.finish(d=d), {"x": np.asarray([4.0, 9.0])})
    assert found["d"].tolist() == [0.25, 1 / 6]


def test_the_least_float64_are_zeros_of_bfloat16() -> None:
    tiny = np.asarray([5e-324, -5e-324, 1e-46, -1e-46])
    found = run("Cast", tiny, dtype=DType.bfloat16).astype(np.float32)
    assert_bits(found, [0.0, -0.0, 0.0, -0.0])


@pytest.mark.parametrize("name", ["Rsqrt", "Reciprocal", "Sqrt"])
def test_two_roundings_stay_within_the_stated_bound(name: str) -> None:
    x = np.random.default_rng(0).uniform(1, 4, 20_000).astype(np.float32)
    true = {"Rsqrt": 1 / np.sqrt(x, dtype=float), "Reciprocal": 1 / x.astype(float)}
    found = run(name, x)
    errors = np.abs(found - true.get(name, np.sqrt(x, dtype=float))) / np.spacing(found)
    bound = LATEST.by_name[name].bound.ulp or 0.5
    assert 0.4 < errors.max() <= bound + 1e-6
