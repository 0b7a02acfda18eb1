"""Laws that hold for every program: gradients are linear, broadcasting is copying."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.base.errors import VerifyError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.op import Op
from bcai.vm.isa.rules import BINARY, TERNARY, broadcast
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder

REFERENCE = ReferenceInterpreter()
SIZE = 3
ONE = ("Neg", "Exp", "Tanh", "Sigmoid", "Gelu", "Softmax", "LogSoftmax")
TWO = ("Add", "Sub", "Mul", "MatMul", "Linear")
LINES = st.lists(
    st.tuples(st.sampled_from(ONE + TWO), st.integers(0, 99), st.integers(0, 99)),
    min_size=1,
    max_size=6,
)
SHAPES = st.lists(st.sampled_from((1, 1, 2, 3)), max_size=3).map(tuple)
BROADCASTING = [op for op in LATEST.by_name.values() if op.type_rule in (BINARY, TERNARY)]


def _write(builder: Builder, x: Symbol, lines: list[tuple[str, int, int]]) -> Symbol:
    """A scalar function of x."""
    values = [x]
    for name, first, second in lines:
        operands = [values[first % len(values)]]
        if name in TWO:
            operands.append(values[second % len(values)])
        values += builder.emit(name, operands, {})
    return values[-1].sum()


def _gradient(lines: list[list[tuple[str, int, int]]], scales: list[float]) -> Array:
    """Gradient of the weighted sum of functions."""
    builder = Builder()
    x = builder.input("x", f"float64[{SIZE},{SIZE}]")
    parts = [_write(builder, x, each) * scale for each, scale in zip(lines, scales, strict=True)]
    loss = parts[0]
    for part in parts[1:]:
        loss = loss + part
    program = builder.finish(dx=gradients(loss, [x])[0])
    value = np.random.default_rng(0).normal(size=(SIZE, SIZE)) / 4
    return REFERENCE.run(program, {"x": value})["dx"]


@settings(max_examples=30, deadline=None)
@given(LINES, st.integers(-8, 8))
def test_scaling_by_a_power_of_two_scales_the_gradient_exactly(
    lines: list[tuple[str, int, int]], exponent: int
) -> None:
    np.testing.assert_array_equal(
        _gradient([lines], [2.0**exponent]), _gradient([lines], [1.0]) * 2.0**exponent
    )


@settings(max_examples=30, deadline=None)
@given(LINES, LINES, st.floats(-4, 4), st.floats(-4, 4))
def test_the_gradient_of_a_sum_is_the_sum_of_gradients(
    f: list[tuple[str, int, int]], g: list[tuple[str, int, int]], a: float, b: float
) -> None:
    found = _gradient([f, g], [a, b])
    parts = _gradient([f], [a]), _gradient([g], [b])
    size = np.abs(parts[0]) + np.abs(parts[1])
    assert (np.abs(found - (parts[0] + parts[1])) <= 1e-12 * (1 + size.max())).all()


@pytest.mark.parametrize("op", BROADCASTING, ids=lambda op: op.name)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_broadcasting_is_copying(op: Op, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(sorted(op.dtypes)))
    shapes = [data.draw(SHAPES) for _ in op.operands]
    try:
        shape = broadcast(*(TensorType(dtype, each) for each in shapes))
    except VerifyError:
        return
    random = np.random.default_rng(len(shape))
    arrays = [_values(random, dtype, each) for each in shapes]
    copies = [np.broadcast_to(each, shape).copy() for each in arrays]
    plain, copied = (np.asarray(op.body(*each)) for each in (arrays, copies))
    assert plain.shape == copied.shape == shape
    assert plain.tobytes() == copied.tobytes()


def _values(random: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Whole numbers from 1, so that every instruction takes them as divisors and as shifts."""
    return np.asarray(random.integers(1, 7, size=shape)).astype(dtype.numpy)


@given(SHAPES, SHAPES)
def test_shapes_broadcast_as_in_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    types = [TensorType(DType.float32, each) for each in (a, b)]
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        for pair in (types, types[::-1]):
            with pytest.raises(VerifyError):
                broadcast(*pair)
        return
    assert broadcast(*types) == broadcast(*types[::-1]) == expected
