"""Processors that code is written for: what their vectors hold and whether they fuse."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class Target:
    """A processor with its vector unit. The bits of a result are the same on every one.

    Attributes
    ----------
    name
        `avx512`, `avx2`, `sse` or `neon`.
    triple, cpu, features
        What LLVM is told.
    vector_bytes, registers
        Size of a vector register, and how many there are.
    fused
        Whether it has a fused multiply-add; without one the same bits are computed the long way.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fused: bool

    def lanes(self, dtype: DType) -> int:
        """Elements of one vector register."""
        return self.vector_bytes // dtype.itemsize

    def masks(self, dtype: DType) -> bool:
        """Whether it reads the first lanes of a vector at once; elsewhere each lane is a branch."""
        return self.vector_bytes == 64 or (self.vector_bytes == 32 and dtype.itemsize >= 4)


_X86, _ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"

AVX512 = Target("avx512", _X86, "x86-64-v4", "-prefer-256-bit", 64, 32, True)
AVX2 = Target("avx2", _X86, "x86-64-v3", "", 32, 16, True)
SSE = Target("sse", _X86, "x86-64-v2", "", 16, 16, False)
NEON = Target("neon", _ARM, "generic", "+neon", 16, 32, True)

_LEVELS = (
    (SSE, "cx16 popcnt sse3 sse4.1 sse4.2 ssse3"),
    (AVX2, "avx avx2 bmi bmi2 f16c fma lzcnt movbe"),
    (AVX512, "avx512bw avx512cd avx512dq avx512f avx512vl"),
)
"""What each level of x86-64 adds, as LLVM calls it. Source: System V ABI, AMD64 supplement, 3.1.1.

All of it counts: LLVM uses what the level has, and a hypervisor can hide any of it.
"""

TARGETS: Mapping[str, Target] = MappingProxyType(
    {each.name: each for each in (AVX512, AVX2, SSE, NEON)}
)


def host_target(features: Mapping[str, bool], machine: str = "") -> Target | None:
    """The best target for a processor with these features (LLVM's names); None if there is none.

    `machine` is what `platform.machine` says unless given.
    """
    machine = machine or platform.machine()
    if machine in ("aarch64", "arm64"):
        return NEON
    if machine not in ("x86_64", "AMD64"):
        return None
    level = 0
    while level < len(_LEVELS) and all(features.get(each) for each in _LEVELS[level][1].split()):
        level += 1
    return _LEVELS[level - 1][0] if level else None
