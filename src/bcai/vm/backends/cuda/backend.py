"""The CUDA backend: programs on one NVIDIA GPU."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bcai.base.errors import RefusedError
from bcai.vm.backends.cuda.driver import CudaDevice
from bcai.vm.compiler.backend import PythonRunner
from bcai.vm.program.program import VerifiedProgram

if TYPE_CHECKING:  # llvmlite is loaded when the first program is compiled
    from bcai.vm.backends.cuda.executable import CudaExecutable


@dataclass(slots=True)
class CudaBackend:
    """PTX in the order that the instruction set lays down."""

    _device: CudaDevice | None = None

    @property
    def name(self) -> str:
        """What users call it."""
        return "cuda"

    @property
    def device(self) -> str:
        """The GPU, in words. Raises RefusedError if there is none."""
        return self._open().name

    def compile(
        self, program: VerifiedProgram, *, python: PythonRunner | None = None
    ) -> "CudaExecutable":
        """Compile for the GPU.

        Raises
        ------
        RefusedError
            There is no GPU, or the program holds Python code, which is not run here.
        """
        del python
        from bcai.vm.backends.cuda.executable import CudaExecutable

        return CudaExecutable(program, self._open())

    def _open(self) -> CudaDevice:
        if self._device is None:
            self._device = CudaDevice()
        return self._device


def what_is_missing() -> str:
    """Why this machine cannot run programs on a GPU; empty if it can."""
    try:
        CudaDevice()
    except RefusedError as refused:
        return str(refused)
    return ""
