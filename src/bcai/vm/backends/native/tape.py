"""The table of launches, and the one native function that runs it.

Note [Tape]
    A launch is a record of 8 whole numbers: address of the kernel's entry point, address of its
    arguments, units, grain; the rest is free. `run(tape, count, pool)` does `count` records one
    after the other and returns -1, or the number of the record whose kernel returned 1. A record
    with fewer units than two grains is done by the calling thread, another by all threads of the
    pool, in chunks that they take as they are free: which thread does what is left open, and no
    bit depends on it.
"""

from dataclasses import dataclass

from bcai.vm.backends.native import atomic
from bcai.vm.backends.native.float_mode import enter_float_mode, leave_float_mode
from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Value
from bcai.vm.backends.native.share import (
    CHUNKS_PER_THREAD,
    PROCESSOR,
    SCRATCH,
    THREADS,
    call_kernel,
    note_processor,
    number_at,
    pointer_at,
    write_share,
)
from bcai.vm.backends.native.target import Target

RECORD_WORDS = 8
ENTRY, ARGUMENTS, UNITS, GRAIN = range(4)
ALL_DONE = -1


@dataclass(frozen=True, slots=True)
class Run:
    """`i64 bcai_run(ptr tape, i64 count, ptr pool)`."""

    symbol: str = "bcai_run"
    library: str | None = "runtime"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        f = module.function(self.symbol, (POINTER, I64, POINTER), I64)
        tape, count, pool = f.arguments
        before = enter_float_mode(f, target)
        with f.when(f.less(1, number_at(f, pool, THREADS))):
            note_processor(f, target, pool, f.offset(pool, PROCESSOR, I64))
        failed = f.stack(I64, 1)
        f.store(f.number(ALL_DONE), failed)
        place = f.stack(I64, 1)
        f.store(f.number(0), place)
        with atomic.repeat(f) as done:
            index = f.load(place, I64)
            atomic.leave(f, f.equal(index, count), done)
            status = _run_record(f, target, f.offset(tape, f.mul(index, RECORD_WORDS), I64), pool)
            wrong = f.b.not_(f.equal(status, 0))
            with f.when(wrong, likely=False):
                f.store(index, failed)
            atomic.leave(f, wrong, done)
            f.store(f.add(index, 1), place)
        leave_float_mode(f, target, before)
        f.give(f.load(failed, I64))


def _run_record(f: Function, target: Target, record: Value, pool: Value) -> Value:
    entry, arguments = pointer_at(f, record, ENTRY), pointer_at(f, record, ARGUMENTS)
    units, grain = number_at(f, record, UNITS), number_at(f, record, GRAIN)
    threads = number_at(f, pool, THREADS)
    alone = f.b.or_(f.equal(threads, 1), f.less(units, f.mul(grain, 2)))
    with f.either(alone) as (yes, no):
        with yes:
            scratch = pointer_at(f, pool, SCRATCH)
            done = call_kernel(f, entry, arguments, f.number(0), units, scratch)
            done_in = f.block
        with no:
            share = write_share(f.module, target)
            chunk = _chunk(f, units, grain, threads)
            shared = f.call(share, [pool, entry, arguments, units, chunk])
            shared_in = f.block
    return f.merge([(done, done_in), (shared, shared_in)])


def _chunk(f: Function, units: Value, grain: Value, threads: Value) -> Value:
    """Units to be taken at once: about a grain or more, and as many chunks for every thread."""
    even = _quotient(f, units, f.mul(threads, CHUNKS_PER_THREAD))
    parts = _quotient(f, units, grain)
    alike = f.maximum(f.sub(parts, f.rem(parts, threads)), f.minimum(parts, threads))
    return f.b.select(f.less(even, grain), _quotient(f, units, alike), even)


def _quotient(f: Function, number: Value, divisor: Value) -> Value:
    """Rounded up."""
    return f.div(f.sub(f.add(number, divisor), 1), divisor)


@dataclass(frozen=True, slots=True)
class Addresses:
    """`void bcai_addresses(ptr words, i64 count, i64 offset)`: word i becomes what it points at.

    It reads at `offset` from there: with the addresses of NumPy arrays and the offset of the field
    that PyArray_DATA reads, their data's. Asking each array in Python takes a microsecond.
    """

    symbol: str = "bcai_addresses"
    library: str | None = "runtime"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        del target
        f = module.function(self.symbol, (POINTER, I64, I64))
        words, count, offset = f.arguments
        with f.loop(0, count) as loop:
            place = f.offset(words, loop.index, I64)
            f.store(f.load(f.offset(f.load_pointer(place), offset), I64), place)
        f.give()


@dataclass(frozen=True, slots=True)
class Probe:
    """`i64 bcai_float_mode()`: the mode of the calling thread, for tests and reports."""

    symbol: str = "bcai_float_mode"
    library: str | None = "runtime"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        f = module.function(self.symbol, (), I64)
        before = enter_float_mode(f, target)
        leave_float_mode(f, target, before)
        f.give(before if before.type == I64 else f.b.zext(before, I64))
