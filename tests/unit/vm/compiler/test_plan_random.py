"""Plans of random programs of views, folds, joins and arithmetic compute what the programs do."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.vm.compiler.plan_interpreter import run_plan

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.compiler.plan_program import make_plan
from bcai.vm.isa.op import Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

REFERENCE = ReferenceInterpreter()
ELEMENTS_MAX = 200
RANK_MAX = 5
ONE = ("Neg", "Exp", "Relu", "Sqrt", "Softmax", "LayerNorm", "Tril")
TWO = ("Add", "Sub", "Mul", "Max")
Line = tuple[str, int, int, int]
KINDS = (
    *ONE,
    *TWO,
    *("MatMul", "Sum", "ReduceMax", "Reshape", "Permute", "Slice", "Select", "Flip", "Expand"),
    *("Concat", "Pad", "Split", "Mean", "GatherElements", "Copy", "Greater"),
)
NUMBERS = st.integers(0, 99)
LINES = st.lists(
    st.tuples(st.sampled_from(KINDS), NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=14
)


def anything(op: Op, dtypes: Sequence[DType]) -> bool:
    """Every element-by-element instruction that cannot fail here may stand in a loop."""
    return op.name not in ("Pow", "BitShiftLeft", "BitShiftRight") and (
        dtypes[0].is_float or op.name not in ("Div", "Mod", "Fmod")
    )


def nothing(op: Op, dtypes: Sequence[DType]) -> bool:
    """No instruction may stand in a loop."""
    del op, dtypes
    return False


def write_line(values: list[Symbol], line: Line) -> Sequence[Symbol]:
    """Apply an instruction to earlier values if it fits; none is illegal."""
    name, first, second, third = line
    x = values[first % len(values)]
    y = values[second % len(values)]
    rank = len(x.shape)
    axis = third % rank if rank else 0
    if name in ("Sum", "ReduceMax", "Mean"):
        axes = tuple(each for each in range(rank) if (third >> each) & 1)
        known = name if x.type.elements else "Sum"
        return [x.emit(known, axes=axes, keepdims=second % 2 == 0)]
    if name in TWO or name == "Greater":
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            y = x
        result = x.emit(name, y)
        return [result.cast(x.dtype)]
    if name == "MatMul":
        return [x @ second_factor(values, x, second)] if rank > 1 else []
    if name == "Reshape":
        return [x.reshape(*other_shape(x.type.elements, second, third))]
    if rank == 0:
        return [x.emit("Neg")]
    return write_along(values, name, x, axis, (second, third))


def second_factor(values: list[Symbol], x: Symbol, number: int) -> Symbol:
    """A matrix, or a batch of them, that x can be multiplied by."""
    fitting = [x.transpose()]
    for each in values:
        for y in (each, each.transpose()) if len(each.shape) > 1 else ():
            batches = zip(x.shape[-3::-1], y.shape[-3::-1], strict=False)
            if y.shape[-2] == x.shape[-1] and all(1 in (a, b) or a == b for a, b in batches):
                fitting.append(y)
    return fitting[number % len(fitting)]


def write_along(  # noqa: C901 - one line for each instruction
    values: list[Symbol], name: str, x: Symbol, axis: int, numbers: tuple[int, int]
) -> Sequence[Symbol]:
    """Instructions that have an axis."""
    second, third = numbers
    shape, rank = x.shape, len(x.shape)
    size = shape[axis]
    if name == "Permute":
        order = sorted(range(rank), key=lambda each: (each * (second + 2) + third) % 7)
        return [x.permute(*order)]
    if name == "Slice":
        start = second % (size + 1)
        stop = start + third % (size - start + 1)
        return [x.emit("Slice", axis=axis, start=start, stop=stop, step=1 + second % 2)]
    if name == "Select":
        return [x.emit("Select", axis=axis, index=second % size)] if size else []
    if name == "Flip":
        return [x.emit("Flip", axes=(axis,))]
    if name == "Expand":
        return [x.expand(2, *shape)]
    if name == "Concat":
        others = [each for each in values if each.shape == shape][-3:]
        return [x.emit("Concat", *others, axis=axis)]
    if name == "Pad":
        before, after = [0] * rank, [0] * rank
        before[axis], after[-1] = second % 3, third % 2
        return [x.emit("Pad", before=tuple(before), after=tuple(after), value=float(third % 3))]
    if name == "Split":
        part = second % (size + 1)
        attributes = {"axis": axis, "sizes": (part, size - part)}
        return x.builder.emit("Split", (x,), attributes)
    if name == "GatherElements":
        if not size:
            return []
        one = (*shape[:axis], 1, *shape[axis + 1 :])
        index = {"shape": one, "value": float(second % (2 * size) - size), "dtype": DType.int64}
        places = x.builder.emit("Full", (), index)[0]
        return [x.emit("GatherElements", places, axis=axis)]
    if name == "Tril" and rank < 2:
        return []
    if name == "Softmax":
        return [x.emit(name, axis=axis)]
    return [x.emit(name)]


def other_shape(elements: int, second: int, third: int) -> tuple[int, ...]:
    """Some shape of so many elements."""
    if not elements:
        return (0, 2)
    divisors = [each for each in range(1, elements + 1) if elements % each == 0]
    outer = divisors[second % len(divisors)]
    rest = elements // outer
    divisors = [each for each in range(1, rest + 1) if rest % each == 0]
    middle = divisors[third % len(divisors)]
    return (outer, middle, rest // middle)


def write(lines: list[Line], with_gradients: bool) -> VerifiedProgram:
    """Each line applies an instruction to earlier values; one in two is an output."""
    builder = Builder()
    inputs = [builder.input("x", "float32[4,6]"), builder.input("y", "float32[2,3,4]")]
    values = list(inputs)
    for line in lines:
        found = write_line(values, line)
        values += [
            each
            for each in found
            if math.prod(each.shape) <= ELEMENTS_MAX and len(each.shape) <= RANK_MAX
        ]
    outputs = {f"v{index}": each for index, each in enumerate(values[2:]) if index % 2 == 0}
    outputs |= {"last": values[-1], "again": values[-1]}
    if with_gradients:
        loss = values[-1].sum() + values[len(values) // 2].sum()
        outputs |= dict(zip(("dx", "dy"), gradients(loss, inputs), strict=True))
    return builder.finish(**outputs)


def values_of(program: VerifiedProgram) -> dict[str, Array]:
    """Random inputs, with special values among them."""
    random = np.random.default_rng(0)
    values: dict[str, Array] = {
        port.name: random.normal(size=port.type.shape).astype(np.float32)
        for port in program.program.ports
    }
    values["x"][0, :2] = (-0.0, np.nan)
    return values


def check(lines: list[Line], with_gradients: bool) -> None:
    program = write(lines, with_gradients)
    values = values_of(program)
    expected = REFERENCE.run(program, values)
    for elementwise in (anything, nothing):
        found = run_plan(make_plan(program, elementwise=elementwise), values)
        assert {name: each.tobytes() for name, each in found.items()} == {
            name: each.tobytes() for name, each in expected.items()
        }


@settings(max_examples=120, deadline=None)
@given(LINES, st.booleans())
@example([("LayerNorm", 63, 56, 37), ("Reshape", 17, 91, 56), ("Concat", 27, 34, 41)], False)
@example(
    [
        *(("Add", 62, 74, 68), ("Exp", 13, 11, 41), ("Reshape", 60, 30, 54), ("Tril", 2, 16, 91)),
        *(("Copy", 24, 20, 34), ("Neg", 47, 58, 36), ("Mul", 83, 47, 18), ("Permute", 97, 41, 56)),
        *(("GatherElements", 44, 0, 96), ("LayerNorm", 5, 66, 84), ("Sqrt", 55, 19, 53)),
        ("Max", 36, 81, 72),
    ],
    True,
)
def test_plans_compute_the_program(lines: list[Line], with_gradients: bool) -> None:
    check(lines, with_gradients)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@given(LINES, st.booleans())
def test_plans_compute_many_programs(lines: list[Line], with_gradients: bool) -> None:
    check(lines, with_gradients)
