"""The verifier: each thing that it refuses, with what it says, and that what it accepts runs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.vm.program.random_programs import CALLS, programs, run_nothing, tiny, values_for

from bcai.base.errors import InputError, VerifyError
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.types import ELEMENTS_MAX, RANK_MAX, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.program import Instruction, Port, Program
from bcai.vm.program.verifier import ProgramLimits, bind_attributes, infer, verify

FLOAT = TensorType(DType.float32, (2, 3))
SUM = {"axes": (0,), "keepdims": False}


def program(*instructions: Instruction, **changes: Any) -> Program:
    """One input `x`, `float32[2,3]`, some instructions, and no outputs unless given."""
    plain = Program(LATEST.version, (Port("x", FLOAT),), (), instructions, ())
    return replace(plain, **changes)


def use(name: str, *operands: int | None, **attributes: Any) -> Instruction:
    return Instruction(LATEST.by_name[name], operands, attributes)


def other_relu() -> Op:
    relu = LATEST.by_name["Relu"]
    return Op(
        "Relu", relu.opcode, relu.group, relu.dtypes, relu.operands, 0, False, (), relu.body,
        relu.type_rule, relu.bound, "",
    )  # fmt: skip


REFUSED = {
    "a version": (program(isa_version=99), "instruction set version 99 is not known"),
    "a foreign op": (
        program(Instruction(other_relu(), (0,), {})),
        "instruction 0 (Relu): not in instruction set version 1",
    ),
    "an undefined value": (
        program(use("Relu", 1)),
        "instruction 0 (Relu): %1 is not defined yet; %0 to %0 are",
    ),
    "a later value": (
        program(use("Relu", 0), use("Add", 0, 2)),
        "instruction 1 (Add): %2 is not defined yet; %0 to %1 are",
    ),
    "a negative value": (program(use("Relu", -1)), "%-1 is not defined yet"),
    "too few operands": (program(use("Add", 0)), "(Add): found 1 operands, expected 2"),
    "too many operands": (program(use("Relu", 0, 0)), "(Relu): found 2 operands, expected 1"),
    "an absent operand": (
        program(use("Add", None, 0)), "(Add): operand 0 (a) is missing",
    ),
    "an absent operand at the end": (
        program(use("Linear", 0, 0, None)), "an absent operand at the end is left out",
    ),
    "an absent variadic operand": (
        program(use("Concat", 0, None, 0, axis=0)), "operand 1 (parts) is missing",
    ),
    "an element type": (
        program(use("BitShiftLeft", 0, 0)), "operand 0 (x): found float32[2,3], expected an",
    ),
    "shapes": (
        program(use("MatMul", 0, 0)), "instruction 0 (MatMul): ",
    ),
    "a missing attribute": (
        program(use("Select", 0, axis=0)), "Select: attribute index (int) is missing",
    ),
    "an unknown attribute": (
        program(use("Relu", 0, slope=0.1)), "Relu has no attribute 'slope'; it has none",
    ),
    "an attribute's kind": (
        program(use("Sum", 0, axes=(0,), keepdims=1)), "keepdims: found 1, expected bool",
    ),
    "a float where an int stands": (
        program(use("Sum", 0, axes=(0.0,), keepdims=True)), "axes: found (0.0,), expected ints",
    ),
    "an attribute's choice": (
        program(use("Gelu", 0, approximate="fast")), "found 'fast', expected one of",
    ),
    "an attribute's form": (
        program(use("Sum", 0, axes=[0], keepdims=False)),
        "attributes are not in the schema's order and kinds",
    ),
    "an attribute's order": (
        program(use("Slice", 0, start=0, axis=0, stop=1, step=1)),
        "attributes are not in the schema's order and kinds",
    ),
    "an int for a float": (
        program(use("LeakyRelu", 0, slope=1)), "attributes are not in the schema's order and kinds",
    ),
    "an integer of more than 64 bits": (
        program(use("Select", 0, axis=0, index=1 << 63)), "index: found 9223372036854775808",
    ),
    "half a surrogate pair": (
        program(metadata={"a": "\ud800"}), "is not text",
    ),
    "a result's rank": (
        program(use("Reshape", 0, shape=(1,) * RANK_MAX + (6,))), "is too large",
    ),
    "a result's size": (
        program(use("Full", shape=(ELEMENTS_MAX, 2), value=0.0, dtype=DType.bool)), "is too large",
    ),
    "a negative size": (
        program(use("Full", shape=(-1,), value=0.0, dtype=DType.bool)), "(Full): ",
    ),
    "a port's rank": (
        program(inputs=(Port("x", TensorType(DType.bool, (1,) * 17)),)), "is too large",
    ),
    "a port's size": (
        program(inputs=(Port("x", TensorType(DType.bool, (ELEMENTS_MAX, 2))),)), "is too large",
    ),
    "a port of a negative size": (
        program(inputs=(Port("x", TensorType(DType.bool, (-2,))),)), "no negative size",
    ),
    "a port's name": (program(inputs=(Port("", FLOAT),)), "1 to 200 printable characters"),
    "a port's long name": (program(inputs=(Port("x" * 201, FLOAT),)), "1 to 200"),
    "a name with control characters": (program(inputs=(Port("a\n", FLOAT),)), "printable"),
    "two ports of one name": (
        program(parameters=(Port("x", FLOAT),)), "input or parameter 'x' is named twice",
    ),
    "two outputs of one name": (
        program(outputs=(("y", 0), ("y", 0))), "output 'y' is named twice",
    ),
    "an output of nothing": (
        program(outputs=(("y", 1),)), "output 'y': %1 is not defined; %0 to %0 are",
    ),
    "an output's name": (program(outputs=(('"', 0),)), "without quotation marks"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what: str) -> None:
    refused, message = REFUSED[what]
    with pytest.raises(VerifyError) as caught:
        verify(refused)
    assert message in str(caught.value)


LIMITED = {
    "instructions": (ProgramLimits(instructions=1), "found 2 instructions, the limit is 1"),
    "operands": (ProgramLimits(operands=1), "found 2 operands, at most 1"),
    "ports": (ProgramLimits(ports=1), "more than 1 inputs, parameters or outputs"),
    "name": (ProgramLimits(name_characters=4), "1 to 4 printable characters"),
    "bytes": (
        ProgramLimits(bytes_peak=71),
        "needs 72 B at its peak, the limit is 71 B; the peak is at instruction 1 (Sum)",
    ),
}


@pytest.mark.parametrize("what", LIMITED)
def test_limits_hold(what: str) -> None:
    limits, message = LIMITED[what]
    with pytest.raises(VerifyError) as caught:
        verify(tiny().program, limits)
    assert message in str(caught.value)


def test_inputs_alone_may_be_too_much() -> None:
    with pytest.raises(VerifyError, match="23 B; the peak is at the inputs and parameters alone"):
        verify(program(), ProgramLimits(bytes_peak=23))


def test_the_peak_counts_what_lives_at_once() -> None:
    chain = [use("Relu", number) for number in range(10)]
    verified = verify(program(*chain, outputs=(("y", 10),)))
    assert verified.bytes_peak == 3 * FLOAT.nbytes  # the input, an operand and its result


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 3))
def test_what_is_verified_runs_with_the_types_that_were_inferred(verified: Any, seed: int) -> None:
    executable = ReferenceBackend().compile(verified, python=run_nothing)
    seen: list[TensorType] = []

    def observe(position: int, results: tuple[Array, ...]) -> None:
        assert verified.first_result[position] == len(verified.program.ports) + len(seen)
        seen.extend(TensorType.of(each) for each in results)

    outputs: dict[str, Array] = {}
    with suppress(InputError):  # such as an index out of range
        outputs = executable.run_traced(values_for(verified, seed), observe)
    if not outputs:
        return
    assert tuple(seen) == verified.types[len(verified.program.ports) :]
    assert {name: TensorType.of(each) for name, each in outputs.items()} == verified.output_types


_SIZES = st.sampled_from((-(2**63), -3, -2, -1, 0, 1, 2, 3, 4, 7, 64, 2**31, 2**40, 2**63 - 1))
_FLOATS = st.sampled_from((0.0, -0.0, 1.0, -1.5, float("inf"), float("-inf"), float("nan"), 1e308))
_OF_KIND: Mapping[str, st.SearchStrategy[Any]] = {
    "int": _SIZES,
    "float": _FLOATS,
    "bool": st.booleans(),
    "str": st.sampled_from(("", "y", "y: float32[2]", "\0")),
    "bytes": st.binary(max_size=9),
    "dtype": st.sampled_from(DType),
    "ints": st.lists(_SIZES, max_size=5).map(tuple),
    "floats": st.lists(_FLOATS, max_size=3).map(tuple),
}
_TYPES = st.builds(
    TensorType,
    st.sampled_from(DType),
    st.lists(st.sampled_from((0, 1, 2, 3, 4, 6, 2**20)), max_size=5).map(tuple),
)


@st.composite
def mangled(draw: st.DrawFn) -> tuple[Op, Case]:
    """A legal call with some of its operands and attributes changed."""
    op, case = draw(st.sampled_from(CALLS))
    operands = [
        draw(st.one_of(_TYPES, st.none())) if draw(st.integers(0, 3)) == 0 else each
        for each in case.operands
    ]
    attributes = dict(case.attributes)
    for schema in op.attributes:
        if draw(st.booleans()):
            choice = st.sampled_from(schema.choices) if schema.choices else _OF_KIND[schema.kind]
            attributes[schema.name] = draw(choice)
    return op, Case(tuple(operands), attributes)


@settings(max_examples=2000, deadline=None)
@given(mangled())
def test_type_rules_refuse_with_a_verify_error_and_nothing_else(call: tuple[Op, Case]) -> None:
    op, case = call
    try:
        results = infer(op, case.operands, bind_attributes(op, case.attributes))
    except VerifyError:
        return
    for each in results:
        assert each.elements <= ELEMENTS_MAX
        assert all(type(size) is int and size >= 0 for size in each.shape)
