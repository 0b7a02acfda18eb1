"""From kernels to PTX, and the proof that every operation in it rounds as it should.

Note [Rounding in PTX]
    PTX lets an operation without `.rn` be fused with its neighbour, and has forms that flush
    subnormals (`.ftz`) or approximate (`.approx`). None of them may appear: `check_ptx` reads every
    line, and code that has one is never loaded. Source: NVIDIA, Parallel Thread Execution ISA,
    "Floating Point Instructions".
"""

import re
from collections.abc import Iterable

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import compile_assembly
from bcai.vm.backends.native.target import Target

CUDA = Target("cuda", "nvptx64-nvidia-cuda", "sm_75", "+ptx70", 8, 255, True)
"""Turing and everything after it: the driver compiles PTX for the GPU at hand."""

_OPERATION = re.compile(r"^\s*(?:@!?%\w+\s+)?([a-z]\w*(?:\.\w+)*)\s", re.MULTILINE)
_FLOATS = {"f16", "f16x2", "bf16", "bf16x2", "f32", "f32x2", "f64"}
_ROUNDED = {"add", "sub", "mul", "fma", "div", "rcp", "sqrt"}
_UNROUNDED = {
    *("abs", "neg", "min", "max", "setp", "set", "selp", "mov", "ld", "st", "copysign", "testp"),
    *("cvt", "shfl", "call", "ret"),
}
"""Exact, or checked on their own (`cvt`)."""


def compile_ptx(kernels: Iterable[Kernel]) -> str:
    """PTX of kernels with their entry points. Raises AssertionError if it rounds wrongly."""
    module = Module("kernels", CUDA.triple)
    for kernel in kernels:
        kernel.write(module, CUDA)
    text = compile_assembly(str(module), CUDA)
    wrong = check_ptx(text)
    assert not wrong, f"PTX that does not round as defined: {', '.join(sorted(wrong))}"
    return text


def check_ptx(text: str) -> set[str]:
    """Operations on floats that do not round to nearest even with subnormals kept."""
    return {each for each in _OPERATION.findall(text) if not _is_exact(each.split("."))}


def _is_exact(words: list[str]) -> bool:
    name, *modifiers = words
    floats = [each for each in modifiers if each in _FLOATS]
    if not floats:
        return True
    if {"ftz", "approx", "sat", "full", "rz", "rm", "rp"} & set(modifiers):
        return False
    if name in _ROUNDED:
        return "rn" in modifiers
    if name == "cvt":
        return _is_exact_conversion(modifiers)
    return name in _UNROUNDED


def _is_exact_conversion(modifiers: list[str]) -> bool:
    """To an integer any direction is exact; to a wider float nothing is rounded."""
    to, source = modifiers[-2:]
    if to not in _FLOATS:
        return True
    whole = {"rni", "rmi", "rpi", "rzi"} & set(modifiers)
    wider = source in _FLOATS and _bits(to) > _bits(source)
    return "rn" in modifiers or wider or (bool(whole) and to == source)


def _bits(type_: str) -> int:
    return int(type_.lstrip("bf"))
