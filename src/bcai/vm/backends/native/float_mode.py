"""The processor's float mode: a library in the same process may have changed it.

Note [Float mode]
    `torch.set_flush_denormal` and objects linked with -ffast-math set flush-to-zero in MXCSR (x86)
    or FPCR (AArch64) for the whole thread, and with it the bits of later work. Native code
    therefore runs in the default mode: no flushing, round to nearest, no traps. `run` sets it on
    entry and puts the caller's back; a worker sets it once, since nothing else runs on it. What
    Python, NumPy and LLVM compute, which is the definition's bodies and the constants of compiled
    code, is computed in `default_float_mode`, which goes through C's <fenv.h>.
"""

from bcai.vm.backends.native.llvm import I32, I64, POINTER, VOID, Function, Value
from bcai.vm.backends.native.target import Target

MXCSR_DEFAULT = 0x1F80  # exceptions masked, round to nearest, neither FTZ nor DAZ
FPCR_DEFAULT = 0


def enter_float_mode(f: Function, target: Target) -> Value:
    """Write: set the default mode. Returns the one before, for `leave_float_mode`."""
    if not target.triple.startswith("x86_64"):
        before = f.b.call(f.module.declared("llvm.aarch64.get.fpcr", I64, []), [])
        _set(f, target, f.number(FPCR_DEFAULT))
        return before
    place = f.stack(I32, 1)
    f.b.call(f.module.declared("llvm.x86.sse.stmxcsr", VOID, [POINTER]), [place])
    before = f.load(place, I32)
    _set(f, target, f.constant(I32, MXCSR_DEFAULT))
    return before


def leave_float_mode(f: Function, target: Target, before: Value) -> None:
    """Write: set the mode that was there before."""
    _set(f, target, before)


def _set(f: Function, target: Target, mode: Value) -> None:
    if target.triple.startswith("x86_64"):
        place = f.stack(I32, 1)
        f.store(mode, place)
        f.b.call(f.module.declared("llvm.x86.sse.ldmxcsr", VOID, [POINTER]), [place])
    else:
        f.b.call(f.module.declared("llvm.aarch64.set.fpcr", VOID, [I64]), [mode])
