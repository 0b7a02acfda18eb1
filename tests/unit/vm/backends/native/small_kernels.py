"""Kernels of a few lines, for tests of what runs them."""

from dataclasses import dataclass

from bcai.vm.backends.native.float_mode import MXCSR_DEFAULT
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import F32, I32, I64, POINTER, VOID, Module
from bcai.vm.backends.native.target import Target

FLUSHING = MXCSR_DEFAULT | 0x8040  # flush to zero, and denormals are zero


@dataclass(frozen=True)
class Count:
    """Adds 1 to number `i` for every unit `i`; refuses unit `argument 1`."""

    symbol: str = "test_count"
    library: str | None = None

    def write(self, module: Module, target: Target) -> None:
        del target
        e = entry(module, self.symbol)
        f = e.f
        base, refused = e.pointer(0), e.number(1)
        with f.loop(e.begin, e.end) as loop:
            place = f.offset(base, loop.index, I64)
            f.store(f.add(f.load(place, I64), 1), place)
        inside = f.b.and_(f.b.not_(f.less(refused, e.begin)), f.less(refused, e.end))
        f.give(f.b.zext(inside, I64))


@dataclass(frozen=True)
class Sign:
    """Writes to number `i`, for every unit `i`, the address of the thread's scratch.

    `part`: how many units it is called with at once instead.
    """

    part: bool = False
    library: str | None = None

    @property
    def symbol(self) -> str:
        return "test_part" if self.part else "test_sign"

    def write(self, module: Module, target: Target) -> None:
        del target
        e = entry(module, self.symbol)
        f = e.f
        base = e.pointer(0)
        value = f.sub(e.end, e.begin) if self.part else f.b.ptrtoint(e.scratch, I64)
        with f.loop(e.begin, e.end) as loop:
            f.store(value, f.offset(base, loop.index, I64))
        f.give(0)


@dataclass(frozen=True)
class Halve:
    """Halves the float32 number `i` for every unit `i`."""

    symbol: str = "test_halve"
    library: str | None = None

    def write(self, module: Module, target: Target) -> None:
        del target
        e = entry(module, self.symbol)
        f = e.f
        base = e.pointer(0)
        with f.loop(e.begin, e.end) as loop:
            place = f.offset(base, loop.index, F32)
            f.store(f.b.fmul(f.load(place, F32), f.constant(F32, 0.5)), place)
        f.give(0)


@dataclass(frozen=True)
class Flush:
    """`void test_flush(ptr)`: what a hostile library does to the thread that calls it (x86)."""

    symbol: str = "test_flush"
    library: str | None = None

    def write(self, module: Module, target: Target) -> None:
        del target
        f = module.function(self.symbol, (POINTER,), VOID)
        f.store(f.constant(I32, FLUSHING), f.arguments[0])
        f.b.call(module.declared("llvm.x86.sse.ldmxcsr", VOID, [POINTER]), [f.arguments[0]])
        f.give()
