"""What callers give the machine: checks that name the argument, what was found, what expected."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from bcai.base.errors import InputError
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.runtime.ml_instruction import MLInstruction
from bcai.vm.stack.bytecode import StackInstruction


def check_count(name: str, value: object) -> None:
    """A whole number from 1, or None. Raises InputError."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is not None and not is_count:
        raise InputError(f"{name}: found {value!r}, expected a whole number from 1, or None")


def check_instructions(instructions: Sequence[MLInstruction]) -> Sequence[MLInstruction]:
    """The same, if every one is an instruction. Raises InputError."""
    if isinstance(cast("object", instructions), MLInstruction):
        raise InputError("instructions: found a single one, expected a list of them")
    for position, each in enumerate(cast("Sequence[object]", instructions)):
        if not isinstance(each, MLInstruction):
            raise InputError(
                f"instruction {position}: found {each!r}, expected such as MLInstruction.Relu(...)"
            )
    return instructions


def check_stack_code(code: Sequence[StackInstruction]) -> Sequence[StackInstruction]:
    """The same, if every one is a stack instruction. Raises InputError."""
    if isinstance(code, str) or not isinstance(cast("object", code), Sequence):
        raise InputError(f"code: found {code!r}, expected bytes, or a list of StackInstruction")
    for position, each in enumerate(cast("Sequence[object]", code)):
        if not isinstance(each, StackInstruction):
            raise InputError(f"instruction {position}: found {each!r}, expected a StackInstruction")
    return code


def check_program(program: VerifiedProgram) -> None:
    """Only what was verified runs. Raises InputError."""
    if not isinstance(cast("object", program), VerifiedProgram):
        raise InputError(
            f"program: found {type(program).__name__}, expected a VerifiedProgram",
            hint="verify(program), a builder's finish() and parse_program(text) make one",
        )


def check_inputs(inputs: object) -> None:
    """A mapping, of values by name or id. Raises InputError."""
    if not isinstance(inputs, Mapping):
        found = type(inputs).__name__
        raise InputError(f"inputs: found {found}, expected a dict of values by name")


def as_array(value: npt.ArrayLike, what: str) -> Array:
    """A value as an array of its own; Python's floats are float32. Raises InputError."""
    try:
        array: Array = np.asarray(value)
        if not hasattr(value, "dtype") and array.dtype == np.float64:
            array = array.astype(np.float32)
        TensorType.of(array)
    except (TypeError, ValueError, RuntimeError, InputError) as error:
        raise InputError(f"{what}: {error}") from error
    return array.copy()
