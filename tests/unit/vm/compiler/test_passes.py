"""Passes keep the outputs of random programs, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.simplify import simplify
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

REFERENCE = ReferenceInterpreter()
SIZE = 3
ONE = ("Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Relu", "Gelu", "Silu", "Softmax", "LogSoftmax")
TWO = ("Add", "Sub", "Mul", "Min", "Max", "MatMul", "Linear")
Line = tuple[str, int, int]
LINES = st.lists(
    st.tuples(st.sampled_from(ONE + TWO), st.integers(0, 99), st.integers(0, 99)),
    min_size=1,
    max_size=12,
)


def write(lines: list[Line], with_gradients: bool) -> VerifiedProgram:
    """Each line applies an instruction to earlier values; one in two is an output."""
    builder = Builder()
    values: list[Symbol] = [builder.input(name, f"float32[{SIZE},{SIZE}]") for name in "xy"]
    for name, first, second in lines:
        operands = [values[first % len(values)]]
        if name in TWO:
            operands.append(values[second % len(values)])
        values += builder.emit(name, operands, {})
    outputs = {f"v{index}": each for index, each in enumerate(values[2:]) if index % 2 == 0}
    if with_gradients:
        outputs |= dict(zip(("dx", "dy"), gradients(values[-1].sum(), values[:2]), strict=True))
    return builder.finish(**outputs)


def run(program: VerifiedProgram) -> dict[str, bytes]:
    random = np.random.default_rng(0)
    values: dict[str, Array] = {
        name: random.normal(size=(SIZE, SIZE)).astype(np.float32) for name in "xy"
    }
    return {name: each.tobytes() for name, each in REFERENCE.run(program, values).items()}


@settings(max_examples=40, deadline=None)
@given(LINES, st.booleans())
def test_passes_keep_every_bit(lines: list[Line], with_gradients: bool) -> None:
    program = write(lines, with_gradients)
    expected = run(program)
    simple = simplify(program)
    assert run(simple) == expected
    assert simplify(simple).program == simple.program
    assert len(simple.program.instructions) <= len(program.program.instructions)
    expanded = expand(program)
    assert run(expanded) == expected
    assert run(simplify(expanded)) == expected


def test_the_gradient_of_topk_goes_by_the_places_that_it_found() -> None:
    builder = Builder()
    x, w = builder.input("x", "float32[2,4]"), builder.input("w", "float32[2,2]")
    kept, _ = builder.emit("TopK", (x,), {"k": 2, "axis": 1, "largest": True})
    (dx,) = gradients((kept * w).sum(), [x])
    program = builder.finish(dx=dx)
    assert "Sort" not in [each.op.name for each in program.program.instructions]
    values = {
        "x": np.array([[1, 3, 3, 2], [np.nan, -1, 0, 5]], np.float32),
        "w": np.array([[10, 20], [30, 40]], np.float32),
    }
    found = REFERENCE.run(program, values)["dx"]
    assert found.tolist() == [[0, 10, 20, 0], [30, 0, 0, 40]]
