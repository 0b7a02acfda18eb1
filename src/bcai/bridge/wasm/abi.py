"""The host interface of a WebAssembly job, version 1: all that a module may import.

Pointers and lengths are unsigned 32-bit offsets into the exported memory `memory`; numbers there
are little-endian, tensors row-major, and nothing needs to be aligned. docs/reference/wasm.md
describes each function for those who call it.
"""

from dataclasses import dataclass

MODULE = "bcai"
MEMORY = "memory"
ENTRIES = ("run", "_start")  # the first that is exported starts
MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"  # of a core module; a component has another

MODULE_BYTES_MAX = 64 << 20  # the largest in use (whole interpreters) have some 40 MiB
RANK_MAX = 16
NAME_BYTES_MAX = 255
OUTPUTS_MAX = 10_000
TABLE_ELEMENTS_MAX = 1 << 20
TABLES_MAX = 16
STACK_BYTES = 1 << 20

FUEL_PER_CALL = 1000  # of a host function: about what it costs in instructions
FUEL_PER_BYTE = 1  # that it copies
# Of a job that names no limit of fuel: more than a processor burns, so that time ends it first.
FUEL_PER_SECOND = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters and results of a host function, by WebAssembly's names of the types."""

    parameters: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"


FUNCTIONS: dict[str, Signature] = {
    "log": Signature(("i32",) * 3),  # stream, pointer, length
    "argument_count": Signature((), ("i32",)),
    "argument_size": Signature(("i32",), ("i32",)),  # index > bytes of UTF-8
    "argument_read": Signature(("i32", "i32")),  # index, pointer
    "input_count": Signature((), ("i32",)),
    "input_find": Signature(("i32", "i32"), ("i32",)),  # name pointer, name length > index or -1
    "input_dtype": Signature(("i32",), ("i32",)),  # index > dtype
    "input_rank": Signature(("i32",), ("i32",)),  # index > axes
    "input_shape": Signature(("i32", "i32")),  # index, pointer to an i64 for each axis
    "input_size": Signature(("i32",), ("i32",)),  # index > bytes
    "input_read": Signature(("i32", "i32")),  # index, pointer
    # name pointer, name length, dtype, axes, pointer to an i64 for each axis, pointer to the data
    "output": Signature(("i32",) * 6),
}
