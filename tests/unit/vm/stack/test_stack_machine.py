"""The stack machine: its errors and limits, its bytes, and its rewriting to a Program."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import (
    BcaiError,
    DivisionByZeroError,
    FormatError,
    StackLimitError,
    StackUnderflowError,
)
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.stack.bytecode import StackInstruction, StackOp, decode, encode
from bcai.vm.stack.machine import StackLimits, run
from bcai.vm.stack.rewrite import rewrite


def push(value: float) -> StackInstruction:
    return StackInstruction(StackOp.Push, value)


def do(name: str, argument: int | None = None) -> StackInstruction:
    return StackInstruction(StackOp[name], argument)


INSTRUCTIONS = st.one_of(
    st.floats(allow_nan=False, width=32).map(push),
    st.sampled_from(["Pop", "Dup", "Swap", "Add", "Sub", "Mul", "Div"]).map(do),
    st.tuples(st.sampled_from(["Load", "Store"]), st.integers(0, 3)).map(lambda each: do(*each)),
)


def test_arithmetic_takes_the_left_operand_first() -> None:
    assert run([push(7), push(2), do("Sub")]).stack == (5.0,)
    assert run([push(7), push(2), do("Div")]).stack == (3.5,)


def test_memory_keeps_what_is_stored_and_holds_zero_before() -> None:
    result = run([do("Load", 3), push(4), do("Store", 3), do("Load", 3)])
    assert result.stack == (0.0, 4.0)
    assert result.memory == {3: 4.0}


@pytest.mark.parametrize("name", ["Pop", "Dup", "Swap", "Add", "Sub", "Mul", "Div"])
def test_underflow_names_the_instruction(name: str) -> None:
    with pytest.raises(StackUnderflowError, match=f"instruction 0 \\({name}\\)"):
        run([do(name)])


def test_division_by_zero_is_an_error() -> None:
    with pytest.raises(DivisionByZeroError, match=r"instruction 2 \(Div\): 1.0 divided by 0"):
        run([push(1), push(-0.0), do("Div")])


def test_limits_are_kept() -> None:
    limits = StackLimits(stack=2, memory=4, instructions=3)
    with pytest.raises(StackLimitError, match="the stack is full"):
        run([push(1), push(1), push(1)], limits=limits)
    with pytest.raises(StackLimitError, match="cell 4 is outside"):
        run([do("Load", 4)], limits=limits)
    with pytest.raises(StackLimitError, match="4 instructions, the limit is 3"):
        run([push(1)] * 4, limits=limits)


@given(st.lists(INSTRUCTIONS, max_size=40))
def test_bytes_round_trip(code: list[StackInstruction]) -> None:
    assert decode(encode(code)) == code


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        code = decode(data)
    except FormatError:
        return
    assert encode(code) == data


def test_bad_bytes_are_refused_with_their_place() -> None:
    with pytest.raises(FormatError, match="byte 1: no instruction 0xee"):
        decode(bytes([StackOp.Pop, 0xEE]))
    with pytest.raises(FormatError, match="byte 0: the argument of Push is cut off"):
        decode(bytes([StackOp.Push, 0, 0]))


@given(st.lists(INSTRUCTIONS, max_size=40))
def test_a_rewritten_program_has_equal_results(code: list[StackInstruction]) -> None:
    try:
        expected = run(code)
    except DivisionByZeroError:
        return
    except (BcaiError, OverflowError) as error:
        with pytest.raises(type(error)):
            rewrite(code)
        return
    verified = rewrite(code)
    inputs = {port.name: np.asarray(0.0) for port in verified.program.inputs}
    outputs = ReferenceInterpreter().run(verified, inputs)
    stack = [outputs[f"stack{index}"] for index in range(len(expected.stack))]
    np.testing.assert_array_equal(stack, expected.stack)
    for cell, value in expected.memory.items():
        np.testing.assert_array_equal(outputs[f"cell{cell}"], value)
