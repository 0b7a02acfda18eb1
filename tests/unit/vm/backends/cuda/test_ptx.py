"""PTX holds no operation that could round in another way, and NVIDIA's assembler takes it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.vm.golden.scalar_kernels import FUNCTIONS, OPERANDS

from bcai.vm.backends.cuda.grid import start, thread_number
from bcai.vm.backends.cuda.ptx import check_ptx, compile_ptx
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa import scalar
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class GridScalar:
    """One scalar function, a thread for every element."""

    name: str
    dtype: DType
    library: str | None = None

    @property
    def symbol(self) -> str:
        return f"{self.name}_{self.dtype.name}"

    def write(self, module: Module, target: Target) -> None:
        count = OPERANDS.get(self.name, 1)
        f = start(self, module, target, count + 1)
        registers = Registers(f, self.dtype, 1, fused=True)
        place = f.mul(thread_number(f, target), self.dtype.itemsize)
        *values, result = (f.offset(each, place) for each in f.arguments)
        operands = [f.load(each, registers.type) for each in values]
        function = getattr(scalar, self.name, None)
        value = (
            function(registers, *operands) if function else getattr(registers, self.name)(*operands)
        )
        f.store(value, result)
        f.give()


def ptx_of_functions(dtype: DType) -> str:
    return compile_ptx([GridScalar(name, dtype) for name in FUNCTIONS])


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
def test_every_scalar_function_is_exact(dtype: DType) -> None:
    text = ptx_of_functions(dtype)
    suffix = "f32" if dtype is DType.float32 else "f64"
    for name in ("add", "sub", "mul", "div", "fma", "sqrt"):
        assert f"\t{name}.rn.{suffix}" in text, name
    assert check_ptx(text) == set()


def test_a_product_and_a_sum_stay_two_operations() -> None:
    @dataclass(frozen=True)
    class Apart:
        symbol: str = "apart"
        library: str | None = None

        def write(self, module: Module, target: Target) -> None:
            f = start(self, module, target, 1)
            registers = Registers(f, DType.float32, 1, fused=True)
            x = f.load(f.arguments[0], registers.type)
            f.store(registers.add(registers.mul(x, x), x), f.arguments[0])
            f.give()

    text = compile_ptx([Apart()])
    assert "mul.rn.f32" in text
    assert "fma" not in text


@pytest.mark.parametrize(
    "line",
    [
        *("add.f32 %f1, %f2, %f3;", "mul.ftz.f32 %f1, %f2, %f3;", "fma.rn.ftz.f32 %f1, %f1, %f1;"),
        *("ex2.approx.f32 %f1, %f2;", "sqrt.approx.f32 %f1, %f2;", "div.full.f32 %f1, %f2, %f3;"),
        *("mad.f32 %f1, %f2, %f3, %f4;", "cvt.f32.f64 %f1, %fd1;", "@%p1 add.f64 %fd1, %fd1, 0;"),
        *("add.rz.f32 %f1, %f2, %f3;", "tanh.approx.f32 %f1, %f2;", "cvt.rz.f32.s32 %f1, %r1;"),
    ],
)  # fmt: skip
def test_what_rounds_otherwise_is_found(line: str) -> None:
    assert check_ptx(f"\t{line}\n") == {next(word for word in line.split() if "." in word)}


@pytest.mark.parametrize(
    "line",
    [
        *("add.rn.f32 %f1, %f2, %f3;", "cvt.f64.f32 %fd1, %f1;", "cvt.rn.f32.f64 %f1, %fd1;"),
        *("cvt.rzi.s32.f32 %r1, %f1;", "cvt.rmi.f32.f32 %f1, %f2;", "neg.f32 %f1, %f2;"),
        *("ld.global.f32 %f1, [%rd1];", "add.s32 %r1, %r2, %r3;", "setp.lt.f32 %p1, %f1, %f2;"),
    ],
)
def test_what_is_exact_is_let_through(line: str) -> None:
    assert check_ptx(f"\t{line}\n") == set()


@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["sm_75", "sm_90"])
def test_the_assembler_takes_it(gpu: str, tmp_path: Path) -> None:
    assembler = shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas: install NVIDIA's CUDA toolkit")
    (tmp_path / "kernels.ptx").write_text(ptx_of_functions(DType.float32))
    command = [assembler, f"-arch={gpu}", "kernels.ptx", "-o", "kernels.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)
