"""NVIDIA's driver through cuda-bindings: one GPU, its code, and calls with their errors."""
# cuda-bindings has no type stubs; this file keeps that to itself.
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from bcai.base.errors import RefusedError, ResourceError
from bcai.vm.backends.cuda.work import CudaWork
from bcai.vm.backends.native.launch import Kernel

CAPABILITY_MIN = (7, 5)
"""Compute capability of Turing, which the PTX is written for."""
_OUT_OF_MEMORY = 2


class CudaDevice:
    """The first GPU. Raises RefusedError if there is none that will do."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver
        except ImportError as error:
            hint = "pip install 'bcai[cuda]'"
            raise RefusedError(f"cuda-bindings does not load: {error}", hint=hint) from error
        self._driver: Any = driver
        self._lock = threading.Lock()
        try:
            self._call("cuInit", 0)
            self._device = self._call("cuDeviceGet", 0)
        except (RefusedError, RuntimeError) as error:  # no libcuda, or no device behind it
            raise RefusedError(f"no GPU: {error}") from error
        attribute = driver.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", each, self._device)
            for each in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        if (major, minor) < CAPABILITY_MIN:
            raise RefusedError(f"{self.name} is too old: Turing (7.5) or later is needed")
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._functions: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """What the GPU calls itself."""
        found: bytes = self._call("cuDeviceGetName", 128, self._device)
        return found.split(b"\0")[0].decode()

    def load(self, kernels: Sequence[Kernel]) -> None:
        """Make code of kernels ready to launch."""
        from bcai.vm.backends.cuda.ptx import compile_ptx

        new = [each for each in kernels if each.symbol not in self._functions]
        if not new:
            return
        text = compile_ptx(new).encode() + b"\0"
        with self._lock:
            self._enter()
            module = self._call("cuModuleLoadData", np.frombuffer(text, np.uint8).ctypes.data)
            for kernel in new:
                name = kernel.symbol.encode()
                self._functions[kernel.symbol] = self._call("cuModuleGetFunction", module, name)

    def open(self) -> CudaWork:
        """Begin a run, with streams of its own. Raises ResourceError."""
        return CudaWork(self._call_here, self._functions)

    def _call_here(self, name: str, *arguments: Any) -> Any:
        """Call the driver from any thread."""
        self._enter()
        return self._call(name, *arguments)

    def _enter(self) -> None:
        """The context belongs to a thread."""
        self._call("cuCtxSetCurrent", self._context)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call the driver; return what it gives. Raises ResourceError, RefusedError."""
        status, *results = getattr(self._driver, name)(*arguments)
        if int(status) == _OUT_OF_MEMORY:
            whose = "page-locked memory" if name == "cuMemAllocHost" else "GPU's memory"
            raise ResourceError(
                f"there is none of the {whose} left",
                hint="hardware_backend='native' needs the machine's memory only",
            )
        if int(status):
            raise RefusedError(f"{name} failed with {status.name}")
        return results[0] if len(results) == 1 else results
