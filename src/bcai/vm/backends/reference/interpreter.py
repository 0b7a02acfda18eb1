"""Run a verified program instruction by instruction. In a dispute this is what is right."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.backends.reference.float_mode import default_float_mode
from bcai.vm.compiler.backend import Observer, PythonCode, PythonRunner
from bcai.vm.compiler.expand import lower
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops.hybrid import RAN, parse_outputs, python_execute
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import instruction_set
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

_NANS = {
    DType.float32: 0x7FC00000,
    DType.float64: 0x7FF8000000000000,
    DType.float16: 0x7E00,
    DType.bfloat16: 0x7FC0,
}


_SHOWN_BITS_MAX = 64
"""Python writes no whole number of more than some thousand digits."""


class ReferenceInterpreter:
    """Interprets verified programs. One may run many programs, one at a time."""

    def __init__(self, python: PythonRunner | None = None) -> None:
        self._python = python
        self._lowered: dict[tuple[object, ...], VerifiedProgram] = {}

    def run(
        self,
        verified: VerifiedProgram,
        values: Mapping[str, Array],
        observe: Observer | None = None,
    ) -> dict[str, Array]:
        """Run a program on its inputs and parameters, by name; return its outputs, by name.

        Outputs share no memory with inputs or each other.

        Raises
        ------
        InputError
            A value is missing, unknown, or not of its port's type.
        """
        program = verified.program
        live: list[Array] = check_inputs(verified, values)
        for position, instruction in enumerate(program.instructions):
            operands = [None if each is None else live[each] for each in instruction.operands]
            try:
                results = self.step(
                    program.isa_version, instruction.op, operands, instruction.attributes
                )
            except InputError as error:
                place = f"instruction {position} ({instruction.op.name})"
                raise type(error)(f"{place}: {error}", hint=error.hint) from error
            live += results
            if observe is not None:
                observe(position, tuple(canonical(each) for each in results))
        return {name: canonical(np.array(live[value])) for name, value in program.outputs}

    @default_float_mode()
    def step(
        self, version: int, op: Op, operands: Sequence[Array | None], attributes: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        """Execute one instruction: a primitive's body, or a macro's lowering."""
        if op is python_execute and self._python is not None:
            return run_python(self._python, operands, attributes)
        if not op.is_macro:
            result = op.body(*operands, **attributes)
            results = cast("tuple[Array, ...]", result if isinstance(result, tuple) else (result,))
            return tuple(np.asarray(each) for each in results)
        types = tuple(None if each is None else TensorType.of(each) for each in operands)
        lowered = self._lowering(version, op, types, attributes)
        named = {str(i): each for i, each in enumerate(operands) if each is not None}
        outputs = self._run_raw(lowered, named)
        return tuple(outputs[str(index)] for index in range(len(outputs)))

    def _run_raw(self, verified: VerifiedProgram, named: Mapping[str, Array]) -> dict[str, Array]:
        live = [named[port.name] for port in verified.program.ports]
        for instruction in verified.program.instructions:
            operands = [None if each is None else live[each] for each in instruction.operands]
            version = verified.program.isa_version
            live += self.step(version, instruction.op, operands, instruction.attributes)
        return {name: live[value] for name, value in verified.program.outputs}

    def _lowering(
        self,
        version: int,
        op: Op,
        types: tuple[TensorType | None, ...],
        attributes: Mapping[str, Any],
    ) -> VerifiedProgram:
        exact = tuple(map(repr, attributes.values()))  # 0.0 == -0.0, but not here
        key = (version, op.opcode, types, exact)
        if key not in self._lowered:
            builder = Builder(instruction_set(version))
            symbols = [
                None if type_ is None else builder.input(str(index), type_)
                for index, type_ in enumerate(types)
            ]
            results = lower(builder, op, symbols, attributes)
            self._lowered[key] = builder.finish(
                **{str(index): symbol for index, symbol in enumerate(results)}
            )
        return self._lowered[key]


def check_inputs(verified: VerifiedProgram, values: Mapping[str, Array]) -> list[Array]:
    """Return the arrays of all ports in order. Raises InputError."""
    ports = verified.program.ports
    unknown = sorted(set(values) - {port.name for port in ports}, key=str)
    if unknown:
        there = ", ".join(port.name for port in ports) or "none"
        raise InputError(f"no input {unknown[0]!r}; the program has {there}")
    arrays: list[Array] = []
    for port in ports:
        if port.name not in values:
            raise InputError(f"input {port.name!r} ({port.type}) is missing")
        try:
            array = as_declared(values[port.name], port.type)
            found = TensorType.of(array)
        except (TypeError, ValueError, RuntimeError, InputError) as error:
            raise InputError(f"input {port.name!r} ({port.type}): {error}") from error
        if found != port.type:
            raise InputError(f"input {port.name!r}: found {found}, expected {port.type}")
        arrays.append(array)
    return arrays


def as_declared(value: object, type_: TensorType) -> Array:
    """A value as an array; a Python number, which has no width, as a scalar of the declared type.

    It is rounded once, as a literal is. Source: NEP 50 (weak scalars).

    Raises
    ------
    InputError
        The type has no such number.
    """
    if type(value) is not int and type(value) is not float:
        return np.asarray(value)
    dtype = type_.dtype
    bits = value.bit_length() if isinstance(value, int) else 0
    shown = repr(value) if bits <= _SHOWN_BITS_MAX else f"of {bits} bits"
    if type_.shape or dtype is DType.bool or (isinstance(value, float) and not dtype.is_float):
        raise InputError(f"found the number {shown}, expected {type_}")
    outside = InputError(f"found the number {shown}, expected one in the range of {dtype.name}")
    if not dtype.is_float:
        limits = np.iinfo(dtype.numpy)
        if not limits.min <= value <= limits.max:
            raise outside
        return np.asarray(value, dtype.numpy)
    try:
        wide = np.asarray(
            value if isinstance(value, int) and abs(value) < 1 << 63 else float(value)
        )
    except OverflowError as error:
        raise outside from error
    with np.errstate(over="ignore"):
        array: Array = wide.astype(dtype.numpy)
    if np.isinf(array) and not np.isinf(wide):
        raise outside
    return array


def run_python(
    runner: PythonRunner, operands: Sequence[Array | None], attributes: Mapping[str, Any]
) -> tuple[Array, ...]:
    """`PythonExecute`: run the code and hold what comes back against the declaration.

    Raises
    ------
    InputError
        An output is missing or of another type than declared.
    """
    declared = parse_outputs(attributes["outputs"])
    code = PythonCode(attributes["code"], declared, attributes["sandbox"], attributes["gpu"])
    found = runner(code, [each for each in operands if each is not None])
    results: list[Array] = []
    for name, type_ in declared.items():
        if name not in found:
            there = ", ".join(map(repr, found)) or "nothing"
            raise InputError(f"the code left no {name!r} ({type_}); it left {there}")
        array = np.asarray(found[name])
        if TensorType.of(array) != type_:
            raise InputError(
                f"the code left {name!r} as {TensorType.of(array)}, expected {type_}",
                hint=f"convert it in the code, such as {name}.astype('{type_.dtype.name}')",
            )
        results.append(canonical(array))
    return tuple(results) if declared else (np.ones(RAN.shape, RAN.dtype.numpy),)


def canonical(array: Array) -> Array:
    """The same values with the one not-a-number, in row-major order."""
    dtype = DType.of(array.dtype)
    plain = np.ascontiguousarray(array).reshape(array.shape)
    if dtype not in _NANS:
        return plain
    nan = np.isnan(plain)
    if not nan.any():
        return plain
    bits = np.dtype(f"u{dtype.itemsize}")
    fixed = plain.copy()
    fixed.view(bits)[nan] = _NANS[dtype]
    return fixed
