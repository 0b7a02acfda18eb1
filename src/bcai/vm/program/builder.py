"""Write a program one instruction at a time, with Python's operators on its symbols."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType, parse_type
from bcai.vm.isa.versions import LATEST, InstructionSet
from bcai.vm.program.program import Instruction, Port, Program, VerifiedProgram
from bcai.vm.program.verifier import bind_attributes, infer, verify


class Builder:
    """Collects instructions, and types them as they come.

    >>> from bcai.vm.isa.ops import nn
    >>> build = Builder()
    >>> x, w = build.input("x", "float32[8,4]"), build.parameter("w", "float32[4,2]")
    >>> program = build.finish(y=nn.relu(x @ w))
    """

    def __init__(self, isa: InstructionSet = LATEST) -> None:
        self.isa = isa
        self.metadata: dict[str, str] = {}
        self._inputs: list[Port] = []
        self._parameters: list[Port] = []
        self._instructions: list[Instruction] = []
        self._first_result: list[int] = []
        self._types: list[TensorType] = []

    @property
    def instructions(self) -> Sequence[Instruction]:
        """What was written so far."""
        return self._instructions

    def results_of(self, position: int) -> tuple[Symbol, ...]:
        """Results of the instruction at a position."""
        ends = self._first_result[position + 1 : position + 2] or [len(self._types)]
        return tuple(Symbol(self, each) for each in range(self._first_result[position], ends[0]))

    def input(self, name: str, type_: TensorType | str) -> Symbol:
        """Declare an input. All inputs come before parameters, and both before instructions."""
        if self._parameters:
            raise VerifyError(f"input {name!r} comes after a parameter")
        return self._port(self._inputs, name, type_)

    def parameter(self, name: str, type_: TensorType | str) -> Symbol:
        """Declare a parameter: an input that lasts from step to step."""
        return self._port(self._parameters, name, type_)

    def copy_ports(self, program: Program) -> list[Symbol]:
        """Declare the inputs, parameters and metadata of another program."""
        self.metadata.update(program.metadata)
        symbols = [self.input(port.name, port.type) for port in program.inputs]
        return symbols + [self.parameter(port.name, port.type) for port in program.parameters]

    def constant(self, array: Array) -> Symbol:
        """A constant tensor, kept in the program's bytes."""
        type_ = TensorType.of(array)
        data = np.ascontiguousarray(array).tobytes()
        attributes = {"data": data, "shape": type_.shape, "dtype": type_.dtype}
        return self.emit("Const", (), attributes)[0]

    def emit(
        self, name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, Any]
    ) -> tuple[Symbol, ...]:
        """Append an instruction and return its results. Raises VerifyError."""
        op = self.isa.by_name.get(name)
        if op is None:
            raise VerifyError(f"instruction set {self.isa.version} has no {name!r}")
        symbols = self.symbols(operands)
        while symbols and symbols[-1] is None:
            symbols.pop()
        bound = bind_attributes(op, attributes)
        types = tuple(None if each is None else self._types[each.index] for each in symbols)
        try:
            results = infer(op, types, bound)
        except VerifyError as error:
            raise VerifyError(f"{name}: {error}") from error
        first = len(self._types)
        self._types += results
        self._first_result.append(first)
        numbers = tuple(None if each is None else each.index for each in symbols)
        self._instructions.append(Instruction(op, numbers, bound))
        return tuple(Symbol(self, first + index) for index in range(len(results)))

    def type_of(self, symbol: Symbol) -> TensorType:
        """Type of a symbol."""
        return self._types[symbol.index]

    def build(self, outputs: Mapping[str, Symbol]) -> Program:
        """Freeze what was written."""
        return Program(
            self.isa.version,
            tuple(self._inputs),
            tuple(self._parameters),
            tuple(self._instructions),
            tuple((name, self._own(symbol).index) for name, symbol in outputs.items()),
            dict(self.metadata),
        )

    def finish(self, **outputs: Symbol) -> VerifiedProgram:
        """Freeze and verify."""
        return verify(self.build(outputs))

    def _port(self, ports: list[Port], name: str, type_: TensorType | str) -> Symbol:
        if self._instructions:
            raise VerifyError(f"{name!r} comes after an instruction; declare it first")
        plain = parse_type(type_) if isinstance(type_, str) else type_
        ports.append(Port(name, plain))
        self._types.append(plain)
        return Symbol(self, len(self._types) - 1)

    def symbols(self, operands: Sequence[Symbol | float | None]) -> list[Symbol | None]:
        """Operands with numbers turned into scalars of the element type beside them."""
        like = next((each for each in operands if isinstance(each, Symbol)), None)
        symbols: list[Symbol | None] = []
        for operand in operands:
            if operand is None or isinstance(operand, Symbol):
                symbols.append(None if operand is None else self._own(operand))
            elif like is None:
                raise VerifyError("a number needs a tensor beside it that gives its element type")
            else:
                symbols.append(self._number(operand, like.dtype))
        return symbols

    def _number(self, value: float, dtype: DType) -> Symbol:
        if isinstance(value, float) and not dtype.is_float:
            raise VerifyError(f"number {value!r} beside {dtype.name}; insert a Cast")
        return self.emit("Full", (), {"shape": (), "value": float(value), "dtype": dtype})[0]

    def _own(self, symbol: Symbol) -> Symbol:
        if symbol.builder is not self:
            raise VerifyError("a symbol of another program")
        return symbol
