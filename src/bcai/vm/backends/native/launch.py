"""What native code is called with: kernels, and launches of them on buffers.

Note [Calling convention of a kernel]
    `i64 kernel(ptr arguments, i64 begin, i64 end, ptr scratch)`. `arguments` holds 8-byte slots:
    addresses and whole numbers, as the launch lists them. The kernel does the units of work
    [begin, end); units write different elements and may run on any thread in any order, so that
    how they are shared out cannot change a bit. `scratch` is memory of the calling thread, aligned
    to 64 bytes, with any content. It returns 0, or 1 if the operands are at fault (an index
    outside, an integer divisor of 0): the run stops, and the definition says what is wrong.
"""

from dataclasses import dataclass
from typing import Protocol

from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Value
from bcai.vm.backends.native.target import Target


class Kernel(Protocol):
    """Code to be written: a frozen dataclass, equal where the code is the same."""

    @property
    def symbol(self) -> str:
        """Name of the entry point: the same for equal kernels, another for others."""
        ...

    @property
    def library(self) -> str | None:
        """Kernels of one library are compiled into one object; None: with the program's own."""
        ...

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point, named `symbol`, and what it needs."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Place in a buffer, in bytes."""

    buffer: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """One call of a kernel, shared out over the threads.

    Attributes
    ----------
    units
        Pieces of work; the kernel is called with parts of [0, units).
    grain
        Fewest units that are worth a thread of their own.
    scratch_bytes
        What each thread needs.
    reads, writes
        Buffers, for the plan of memory.
    position
        The instruction that it belongs to.
    in_place
        Pairs of a buffer that is read and one that is written, which may lie in the same memory.
    """

    kernel: Kernel
    arguments: tuple[Address | int, ...]
    units: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    position: int
    grain: int = 1
    scratch_bytes: int = 0
    in_place: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """The parameters of a kernel's entry point."""

    f: Function
    arguments: Value
    begin: Value
    end: Value
    scratch: Value

    def pointer(self, slot: int) -> Value:
        """Argument `slot`, an address."""
        return self.f.load_pointer(self.f.offset(self.arguments, slot, I64))

    def number(self, slot: int) -> Value:
        """Argument `slot`, a whole number."""
        return self.f.load(self.f.offset(self.arguments, slot, I64), I64)


def entry(module: Module, symbol: str) -> Entry:
    """Start a kernel's entry point."""
    f = module.function(symbol, (POINTER, I64, I64, POINTER), I64)
    return Entry(f, *f.arguments)
