"""The instruction set, by version. A published version never changes; the next extends it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bcai.base.errors import FormatError
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops import OPS_1


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """Every instruction of one version, by name and by opcode."""

    version: int
    by_name: Mapping[str, Op]
    by_opcode: Mapping[int, Op] = field(default_factory=dict[int, Op])

    def extend(self, *added: Op) -> "InstructionSet":
        """Return the next version.

        Raises
        ------
        ValueError
            A name or an opcode is taken.
        """
        by_name, by_opcode = dict(self.by_name), dict(self.by_opcode)
        for op in added:
            if op.name in by_name or op.opcode in by_opcode:
                raise ValueError(f"{op.name} ({op.opcode:#06x}) collides with another instruction")
            by_name[op.name] = op
            by_opcode[op.opcode] = op
        return InstructionSet(
            self.version + 1, MappingProxyType(by_name), MappingProxyType(by_opcode)
        )

    @property
    def fingerprint(self) -> str:
        """Hash of names, opcodes and schemas; pinned by a golden test."""
        rows = [
            f"{op.opcode:04x} {op.name} {op.operands} {op.optional} {op.variadic} "
            f"{[(a.name, a.kind, str(a.default), a.choices) for a in op.attributes]}"
            for _, op in sorted(self.by_opcode.items())
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


EMPTY = InstructionSet(0, MappingProxyType({}))
ISA_1 = EMPTY.extend(*OPS_1)
VERSIONS: Mapping[int, InstructionSet] = MappingProxyType({1: ISA_1})
LATEST = ISA_1


def instruction_set(version: int) -> InstructionSet:
    """Return a published version. Raises FormatError for one that is not known here."""
    if version not in VERSIONS:
        known = ", ".join(str(each) for each in VERSIONS)
        raise FormatError(f"instruction set version {version} is not known; known: {known}")
    return VERSIONS[version]
