"""The stack machine's instructions and their bytes.

An instruction is one byte, followed by a little-endian float64 (`Push`) or uint32 (`Load`,
`Store`: a memory cell).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from bcai.base.errors import FormatError


class StackOp(IntEnum):
    """What an instruction does; the number is its byte."""

    Push = 0x01
    Pop = 0x02
    Dup = 0x03
    Swap = 0x04
    Load = 0x05
    Store = 0x06
    Add = 0x10
    Sub = 0x11
    Mul = 0x12
    Div = 0x13


_ARGUMENT = {StackOp.Push: struct.Struct("<d"), StackOp.Load: struct.Struct("<I")}
_ARGUMENT[StackOp.Store] = _ARGUMENT[StackOp.Load]


@dataclass(frozen=True, slots=True)
class StackInstruction:
    """An instruction; `argument` is a number for `Push`, a cell for `Load` and `Store`."""

    op: StackOp
    argument: float | int | None = None

    def __post_init__(self) -> None:
        """Refuse an argument that does not belong. Raises FormatError."""
        if (self.argument is None) == (self.op in _ARGUMENT):
            needs = "needs an argument" if self.op in _ARGUMENT else "takes no argument"
            raise FormatError(f"{self.op.name} {needs}; found {self.argument!r}")
        if self.op in (StackOp.Load, StackOp.Store) and not (
            isinstance(self.argument, int) and 0 <= self.argument < 1 << 32
        ):
            raise FormatError(f"{self.op.name}: found {self.argument!r}, expected a cell from 0")

    @property
    def cell(self) -> int:
        """The memory cell of `Load` and `Store`."""
        return int(self.argument or 0)


def encode(code: list[StackInstruction]) -> bytes:
    """Bytes of a program."""
    parts: list[bytes] = []
    for instruction in code:
        layout = _ARGUMENT.get(instruction.op)
        parts.append(bytes([instruction.op]))
        parts.append(b"" if layout is None else layout.pack(instruction.argument))
    return b"".join(parts)


def decode(data: bytes) -> list[StackInstruction]:
    """Read bytes. Raises FormatError that names the byte."""
    code: list[StackInstruction] = []
    at = 0
    while at < len(data):
        try:
            op = StackOp(data[at])
        except ValueError:
            raise FormatError(f"byte {at}: no instruction {data[at]:#04x}") from None
        layout = _ARGUMENT.get(op)
        size = 0 if layout is None else layout.size
        if at + 1 + size > len(data):
            raise FormatError(f"byte {at}: the argument of {op.name} is cut off")
        argument = None if layout is None else layout.unpack_from(data, at + 1)[0]
        code.append(StackInstruction(op, argument))
        at += 1 + size
    return code
