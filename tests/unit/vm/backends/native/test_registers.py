"""Scalar functions in registers are instructions only: no call of libm on any target."""

import re

import pytest
from tests.conformance.vm.golden.scalar_kernels import FUNCTIONS, ScalarKernel

from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import Function, Module
from bcai.vm.backends.native.objects import compile_assembly, compile_object
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.symbols import undefined_symbols
from bcai.vm.backends.native.target import AVX2, AVX512, NEON, SSE, TARGETS, Target
from bcai.vm.isa.types import FLOATS, DType

EVERY_TARGET = [pytest.param(each, id=each.name) for each in TARGETS.values()]
BINARY = [DType.float32, DType.float64]


def every_function(target: Target, dtype: DType) -> str:
    module = Module("scalar", target.triple)
    for name in FUNCTIONS:
        ScalarKernel(name, dtype).write(module, target)
    return str(module)


@pytest.mark.parametrize("dtype", BINARY)
@pytest.mark.parametrize("target", EVERY_TARGET)
def test_scalar_functions_call_nothing(target: Target, dtype: DType) -> None:
    content = compile_object(every_function(target, dtype), target, level=1, jit=False)
    assert undefined_symbols(content) == set()


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", BINARY)
@pytest.mark.parametrize("target", EVERY_TARGET)
def test_rounding_and_roots_call_nothing(target: Target, dtype: DType, lanes: int) -> None:
    module = Module("rounding", target.triple)
    e = entry(module, "rounding")
    type_ = Registers(e.f, dtype, lanes, fused=target.fused).type
    value = e.f.load(e.pointer(0), type_)
    for name in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs"):
        value = e.f.intrinsic(name, value)
    e.f.store(value, e.pointer(0))
    e.f.give(0)
    assert undefined_symbols(compile_object(str(module), target, jit=False)) == set()


@pytest.mark.parametrize(
    ("target", "fused"),
    [(AVX512, r"\bvfn?madd"), (AVX2, r"\bvfn?madd"), (NEON, r"\bfml[as]\b|\bfn?madd\b")],
    ids=["avx512", "avx2", "neon"],
)
def test_a_fused_target_fuses_what_is_fused_and_nothing_else(target: Target, fused: str) -> None:
    def code(write: object) -> str:
        module = Module("fusing", target.triple)
        e = entry(module, "fusing")
        registers = Registers(e.f, DType.float32, target.lanes(DType.float32), fused=True)
        a, b, c = (e.f.load(e.pointer(slot), registers.type) for slot in range(3))
        value = registers.fma(a, b, c) if write == "fma" else registers.add(registers.mul(a, b), c)
        e.f.store(value, e.pointer(3))
        e.f.give(0)
        return compile_assembly(str(module), target)

    assert re.search(fused, code("fma"))
    assert not re.search(fused, code("mul and add"))


def test_the_text_has_no_licence_to_change_bits() -> None:
    flags = re.compile(
        r"\bf(?:add|sub|mul|div|neg|cmp)\s+(?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)"
    )
    for dtype in BINARY:
        assert not flags.search(every_function(SSE, dtype))


@pytest.mark.parametrize("dtype", sorted((FLOATS - {*BINARY}) | {DType.int32}))
def test_only_two_formats(dtype: DType) -> None:
    f: Function = entry(Module("none", SSE.triple), "none").f
    with pytest.raises(ValueError, match=dtype.name):
        Registers(f, dtype, 1, fused=True)
