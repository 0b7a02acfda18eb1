"""Native code instruction by instruction, for observers and to find what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bcai.vm.backends.native.bound import Fault
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import PythonRunner
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.isa.versions import instruction_set
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

_Key = tuple[object, ...]
DEFINED_ELEMENTS_MAX = 1 << 16
"""Of all operands: by definition a product of so many takes a tenth of a second, and the compiler
takes longer than that before an instruction has computed anything."""


class Part(Protocol):
    """A small program, compiled."""

    def run_part(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run; raises Fault."""
        ...


class NativeInterpreter(ReferenceInterpreter):
    """The reference interpreter, with each instruction compiled as a program of its own.

    One that has little to do is not: it goes by its definition until that took about as long as
    compiling it would. An instruction whose kernel refuses its operands goes to the definition,
    which says why.
    """

    def __init__(
        self, compile_part: Callable[[VerifiedProgram], Part], python: PythonRunner | None
    ) -> None:
        super().__init__(python)
        self._compile_part = compile_part
        self._elements_max = DEFINED_ELEMENTS_MAX
        self._parts: dict[_Key, Part] = {}
        self._defined: dict[_Key, int] = {}  # elements that went by the definition so far

    def step(
        self, version: int, op: Op, operands: Sequence[Array | None], attributes: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        """Execute one instruction."""
        if op.group == "hybrid":
            return super().step(version, op, operands, attributes)
        types = tuple(None if each is None else TensorType.of(each) for each in operands)
        key = (version, op.opcode, types, tuple(map(repr, attributes.values())))
        if key not in self._parts:
            elements = sum(each.size for each in operands if each is not None)
            elements += self._defined.get(key, 0)
            if elements <= self._elements_max:
                self._defined[key] = elements
                return super().step(version, op, operands, attributes)
            self._parts[key] = self._compile_part(_alone(version, op, types, attributes))
        named = {str(index): each for index, each in enumerate(operands) if each is not None}
        try:
            found = self._parts[key].run_part(named)
        except Fault:
            return super().step(version, op, operands, attributes)
        return tuple(found[str(index)] for index in range(len(found)))


def _alone(
    version: int, op: Op, types: Sequence[TensorType | None], attributes: Mapping[str, Any]
) -> VerifiedProgram:
    builder = Builder(instruction_set(version))
    symbols = [
        None if each is None else builder.input(str(index), each)
        for index, each in enumerate(types)
    ]
    results = builder.emit(op.name, symbols, attributes)
    return builder.finish(**{str(index): symbol for index, symbol in enumerate(results)})
