"""Every loop, fold and product that the instruction set can ask of a GPU is exact PTX.

The corpus is that of the conformance suite: each instruction's cases, in every element type. What
has no kernel for a GPU goes to the host; which instructions these are is written down here.
"""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.conformance.vm.instruction_cases import OPS, build, of_every_dtype

from bcai.vm.backends.cuda.executable import CudaExecutable, GridLaunch
from bcai.vm.backends.cuda.ptx import check_ptx, compile_ptx
from bcai.vm.backends.native.launch import Kernel
from bcai.vm.isa.op import Op

FOREIGN = "PythonExecute"
PRIMITIVES = [op for op in OPS if not op.is_macro and op.name != FOREIGN]
ON_THE_HOST = {
    *("ArgMax", "ArgMin", "CumProd", "CumSum", "Sort"),
    *("Gather", "AddRows", "GatherElements", "ScatterElements", "ScatterAdd", "Index", "IndexPut"),
    *("Conv", "ConvInputGrad", "ConvWeightGrad"),
    *("MaxPool", "MaxPoolGrad", "AvgPool", "AvgPoolGrad"),
    *("Philox", "Uniform", "RandomInt"),
}
"""Instructions that no kernel for a GPU covers in any element type."""
NEVER_LAUNCHED = {"Copy", "StopGradient", "Reshape", "Select", "Squeeze", "Unsqueeze"}
"""Resolved when a program is planned: another view of the same bytes."""


class NoDevice:
    """Takes kernels and keeps none: what is asked is what would be launched."""

    def load(self, kernels: object) -> None:
        pass


@cache
def kernels_of(op: Op) -> dict[str, Kernel]:
    """Kernels of an instruction's cases in every element type, by name."""
    return dict(_kernels_of(op))


def _kernels_of(op: Op) -> Iterator[tuple[str, Kernel]]:
    for accepted in op.type_rule.accepts:
        for case in of_every_dtype(op, accepted):
            steps = CudaExecutable(build(op, case).program, NoDevice()).steps  # type: ignore[arg-type]
            for each in steps:
                if isinstance(each, GridLaunch):
                    yield each.kernel.symbol, each.kernel


@pytest.mark.slow
@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in PRIMITIVES])
def test_its_kernels_are_exact_ptx(op: Op) -> None:
    kernels = kernels_of(op)
    assert (not kernels) == (op.name in ON_THE_HOST | NEVER_LAUNCHED)
    if kernels:
        text = compile_ptx(kernels.values())
        assert check_ptx(text) == set()
        assert all(f".entry {name}(" in text for name in kernels)


@pytest.mark.slow
def test_the_assembler_takes_all_of_it(tmp_path: Path) -> None:
    assembler = shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas: install NVIDIA's CUDA toolkit")
    kernels = {name: each for op in PRIMITIVES for name, each in kernels_of(op).items()}
    (tmp_path / "kernels.ptx").write_text(compile_ptx(kernels.values()))
    command = [assembler, "-arch=sm_75", "-O0", "kernels.ptx", "-o", "kernels.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)
