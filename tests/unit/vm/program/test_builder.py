"""The builder: what it writes, and what it says of mistakes at the line where they are made."""

import copy
import pickle

import numpy as np
import pytest

from bcai.base.errors import VerifyError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.program.builder import Builder


def run(builder: Builder, y: Symbol, **inputs: object) -> object:
    program = builder.finish(y=y)
    arrays = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    return ReferenceInterpreter().run(program, arrays)["y"].tolist()


def test_operators_write_instructions() -> None:
    builder = Builder()
    x = builder.input("x", "float32[3]")
    y = (2.0 - x) * 3.0 / (x + 1) - (-x) ** 2.0
    assert run(builder, y, x=[0.0, 1.0, 2.0]) == [6.0, 0.5, -4.0]


def test_comparisons_are_elementwise_and_selection_follows_numpy() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,3]")
    chosen = (x > 1.0).emit("Where", x, x.scalar(0.0))[1, ::2]
    assert run(builder, chosen, x=[[1, 2, 3], [4, 0, 6]]) == [4.0, 6.0]


def test_python_numbers_take_the_tensors_type() -> None:
    builder = Builder()
    half = builder.input("h", "float16[2]")
    whole = builder.input("i", "int64[2]")
    assert (half + 1).dtype is DType.float16
    assert (1 - whole).dtype is DType.int64
    with pytest.raises(VerifyError, match=r"number 1\.5 beside int64; insert a Cast"):
        _ = whole + 1.5


def test_a_program_names_the_types_of_what_goes_in() -> None:
    builder = Builder()
    x, w = builder.input("x", "float32[2,3]"), builder.parameter("w", "float32[3,4]")
    program = builder.finish(y=x @ w)
    assert program.input_types == {"x": TensorType(DType.float32, (2, 3))}
    assert program.parameter_types == {"w": TensorType(DType.float32, (3, 4))}


def test_constants_and_metadata_come_along() -> None:
    builder = Builder()
    builder.metadata["name"] = "example"
    y = builder.constant(np.arange(3, dtype=np.int32)) * 2
    program = builder.finish(y=y)
    assert program.program.metadata == {"name": "example"}
    assert program.output_types == {"y": TensorType(DType.int32, (3,))}
    assert ReferenceInterpreter().run(program, {})["y"].tolist() == [0, 2, 4]


def test_mistakes_are_refused_where_they_are_made() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,3]")
    builder.parameter("w", "float32[3]")
    with pytest.raises(VerifyError, match="input 'late' comes after a parameter"):
        builder.input("late", "float32[1]")
    with pytest.raises(VerifyError, match="has no 'MatMull'"):
        x.emit("MatMull", x)
    with pytest.raises(VerifyError, match=r"^MatMul: .*float32\[2,3\]"):
        _ = x @ x
    with pytest.raises(VerifyError, match="a symbol of another program"):
        _ = x + Builder().input("x", "float32[2,3]")
    with pytest.raises(VerifyError, match="needs a tensor beside it"):
        builder.emit("Add", (1.0, 2.0), {})
    assert (x + 1).shape == (2, 3)
    with pytest.raises(VerifyError, match="comes after an instruction"):
        builder.parameter("later", "float32[1]")
    with pytest.raises(IndexError, match="index 2 is outside axis 0"):
        x[2]


def test_the_refused_instruction_is_not_in_the_program() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2]")
    with pytest.raises(VerifyError):
        x.emit("Sum", axes=(3,), keepdims=False)
    assert run(builder, x + 1, x=[1.0, 2.0]) == [2.0, 3.0]


def test_a_copied_or_pickled_program_is_the_same_program() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,3]")
    program = builder.finish(y=x.emit("Softmax", axis=1) * 2.0)
    for again in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert again == program
        assert again.program.instructions[0].op is program.program.instructions[0].op
