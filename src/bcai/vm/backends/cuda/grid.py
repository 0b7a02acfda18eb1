"""What a thread knows of its grid: its number, and values of its neighbours in the warp.

On a target that is not a GPU these are external functions, so that tests can emulate a grid.
"""

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import (
    F32,
    F64,
    I32,
    I64,
    POINTER,
    Function,
    Module,
    Type,
    Value,
    bits_of,
)
from bcai.vm.backends.native.target import Target

WARP = 32
THREADS_PER_BLOCK = 128
EMULATED_THREAD, EMULATED_DOWN, EMULATED_FIRST = "grid_thread", "grid_down", "grid_first"
_EVERYONE, _LAST_LANE = -1, 31


def start(kernel: Kernel, module: Module, target: Target, pointers: int) -> Function:
    """Start an entry point that takes so many addresses."""
    convention = "ptx_kernel" if _is_gpu(target) else ""
    return module.function(kernel.symbol, [POINTER] * pointers, convention=convention)


def thread_number(f: Function, target: Target) -> Value:
    """Number of this thread in the whole grid, an i64."""
    if not _is_gpu(target):
        return f.call(f.module.declared(EMULATED_THREAD, I64, ()), ())
    block, size, thread = (
        f.b.zext(f.call(f.module.declared(f"llvm.nvvm.read.ptx.sreg.{each}.x", I32, ()), ()), I64)
        for each in ("ctaid", "ntid", "tid")
    )
    return f.add(f.mul(block, size), thread)


def from_below(f: Function, target: Target, value: Value, distance: int) -> Value:
    """The value of the thread `distance` lanes further on; any value past the end of the warp."""
    return _moved(f, target, value, "down", EMULATED_DOWN, distance)


def from_first(f: Function, target: Target, value: Value) -> Value:
    """The value of lane 0, in every lane."""
    return _moved(f, target, value, "idx", EMULATED_FIRST, 0)


def _moved(
    f: Function, target: Target, value: Value, mode: str, emulated: str, operand: int
) -> Value:
    type_: Type = value.type
    if bits_of(type_) == 64:
        whole = f.b.bitcast(value, I64) if type_ == F64 else value
        high = f.b.trunc(f.b.lshr(whole, f.number(32)), I32)
        parts = [f.b.trunc(whole, I32), high]
        low, high = (_moved(f, target, each, mode, emulated, operand) for each in parts)
        joined = f.b.or_(f.b.shl(f.b.zext(high, I64), f.number(32)), f.b.zext(low, I64))
        return f.b.bitcast(joined, F64) if type_ == F64 else joined
    if type_ == F32:
        return f.b.bitcast(_moved(f, target, f.b.bitcast(value, I32), mode, emulated, operand), F32)
    if bits_of(type_) < 32:
        wide = _moved(f, target, f.b.zext(value, I32), mode, emulated, operand)
        return f.b.trunc(wide, type_)
    numbers = [f.constant(I32, each) for each in (_EVERYONE, operand, _LAST_LANE)]
    if not _is_gpu(target):
        return f.call(f.module.declared(emulated, I32, (I32, I32)), [value, numbers[1]])
    name = f"llvm.nvvm.shfl.sync.{mode}.i32"
    move = f.module.declared(name, I32, (I32, I32, I32, I32))
    return f.call(move, [numbers[0], value, numbers[1], numbers[2]])


def _is_gpu(target: Target) -> bool:
    return target.triple.startswith("nvptx")
