"""Rewrite macros into primitives: what decides their bits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bcai.vm.isa.op import Call, Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.versions import InstructionSet, instruction_set
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import bind_attributes

Wanted = Callable[[Op], bool]


def is_macro(op: Op) -> bool:
    """Whether an instruction has a lowering."""
    return op.is_macro


class ExpandingBuilder(Builder):
    """A builder that writes the lowering of every wanted macro in its place."""

    def __init__(self, isa: InstructionSet, wanted: Wanted) -> None:
        super().__init__(isa)
        self._wanted = wanted

    def emit(
        self, name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, Any]
    ) -> tuple[Symbol, ...]:
        """Append an instruction or its lowering."""
        op = self.isa.by_name.get(name)
        if op is None or not op.is_macro or not self._wanted(op):
            return super().emit(name, operands, attributes)
        return lower(self, op, self.symbols(operands), bind_attributes(op, attributes))


def lower(
    builder: Builder, op: Op, operands: Sequence[Symbol | None], attributes: Mapping[str, Any]
) -> tuple[Symbol, ...]:
    """Write the lowering of one macro and return its results."""
    if op.lowering_rule is None:
        raise TypeError(f"{op.name} is a primitive")
    padded = tuple(operands) + (None,) * (len(op.operands) - len(operands))
    result = op.lowering_rule(Call(op, builder, padded, attributes))
    return result if isinstance(result, tuple) else (result,)


def expand(verified: VerifiedProgram, wanted: Wanted = is_macro) -> VerifiedProgram:
    """Replace every wanted macro by its lowering, down to primitives."""
    builder = ExpandingBuilder(instruction_set(verified.program.isa_version), wanted)
    symbols = builder.copy_ports(verified.program)
    for instruction in verified.program.instructions:
        operands = [None if each is None else symbols[each] for each in instruction.operands]
        symbols += builder.emit(instruction.op.name, operands, instruction.attributes)
    return builder.finish(**{name: symbols[value] for name, value in verified.program.outputs})
