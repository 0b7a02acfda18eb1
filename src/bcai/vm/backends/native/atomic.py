"""Memory that several threads write: whole numbers of 64 or 32 bits, loops that wait, pauses."""

from collections.abc import Generator
from contextlib import contextmanager

from bcai.vm.backends.native.llvm import I32, I64, VOID, Function, Number, Type, Value
from bcai.vm.backends.native.target import Target


def read(f: Function, pointer: Value, type_: Type = I64) -> Value:
    """Read; what the writer wrote before is seen too."""
    return f.b.load_atomic(pointer, "seq_cst", 8 if type_ == I64 else 4, typ=type_)


def write(f: Function, value: Number, pointer: Value) -> None:
    """Write; who reads it sees what was written before, too."""
    f.b.atomic_rmw("xchg", pointer, f.number(value), "seq_cst")


def add(f: Function, pointer: Value, value: int, type_: Type = I64) -> Value:
    """Add in one step; returns what was there before."""
    return f.b.atomic_rmw("add", pointer, f.constant(type_, value), "seq_cst")


def exchange_if_equal(f: Function, pointer: Value, expected: Value, value: Value) -> Value:
    """Write `value` if `expected` is there, in one step; returns an i1, whether it was."""
    found = f.b.cmpxchg(pointer, expected, value, "seq_cst", "seq_cst")
    return f.b.extract_value(found, 1)


@contextmanager
def repeat(f: Function) -> Generator[Value, None, None]:
    """Run the body again and again, until `leave`."""
    body, done = f.b.append_basic_block("again"), f.b.append_basic_block("left")
    f.b.branch(body)
    f.b.position_at_end(body)
    yield done
    f.b.branch(body)
    f.b.position_at_end(done)


def leave(f: Function, condition: Value, repeated: Value) -> None:
    """Go on behind a `repeat` if an i1 is set."""
    following = f.b.append_basic_block("stay")
    f.b.cbranch(condition, repeated, following)
    f.b.position_at_end(following)


def pause(f: Function, target: Target) -> None:
    """Tell the processor that this thread only waits; about 50 cycles."""
    if target.triple.startswith("x86_64"):
        f.b.call(f.module.declared("llvm.x86.sse2.pause", VOID, []), [])
    else:
        hint = f.module.declared("llvm.aarch64.hint", VOID, [I32])
        f.b.call(hint, [f.constant(I32, 1)])


def system_call(f: Function, function: Value, *numbers: Number) -> Value:
    """Call libc's `syscall`, whose address is given; pointers and whole numbers of 64 bits."""
    arguments = [f.number(each) for each in numbers]
    return f.call_address(function, [each.type for each in arguments], arguments, I64)
