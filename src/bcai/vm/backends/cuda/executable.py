"""A program on a device: loops and matrix products there, the rest by the definition on the host.

Plain on purpose: every value has memory of its own, and what the device has no kernel for goes to
the host and back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.cuda.loop import ROW_MAX, LoopKernel
from bcai.vm.backends.cuda.product import ProductKernel, product_of
from bcai.vm.backends.native.executable import plan
from bcai.vm.backends.native.launch import Address, Kernel
from bcai.vm.backends.native.loops.canonical import canonical as canonical_form
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter, canonical, check_inputs
from bcai.vm.compiler.backend import Observer
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import LoopTask, OpTask, Role, Task, View
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


class Device(Protocol):
    """Memory and processors of its own. Addresses are the device's."""

    def load(self, kernels: Sequence[Kernel]) -> None:
        """Make code of kernels ready to launch."""
        ...

    def allocate(self, nbytes: int) -> int:
        """Address of new memory. Raises MemoryError."""
        ...

    def free(self, address: int) -> None:
        """Give memory back."""
        ...

    def upload(self, address: int, data: Array) -> None:
        """Copy `uint8[n]` to the device."""
        ...

    def download(self, address: int, nbytes: int) -> Array:
        """Copy from the device: `uint8[n]`."""
        ...

    def launch(self, symbol: str, threads: int, arguments: Sequence[int]) -> None:
        """Run a kernel with at least so many threads, after all that was launched before."""
        ...


@dataclass(frozen=True, slots=True)
class GridLaunch:
    """A kernel and what it works on."""

    kernel: LoopKernel | ProductKernel
    arguments: tuple[Address, ...]


class CudaExecutable:
    """A program, compiled for a device. Raises RefusedError if it holds Python code."""

    def __init__(self, verified: VerifiedProgram, device: Device) -> None:
        if any(each.op is python_execute for each in verified.program.instructions):
            raise RefusedError(
                "the cuda backend runs no Python code", hint="hardware_backend='native' does"
            )
        self.program = verified
        self._device = device
        self._plan = plan(keep_refusals(expand(verified)))
        self.steps = [_lower(task) for task in self._plan.tasks]
        launches = [each for each in self.steps if isinstance(each, GridLaunch)]
        device.load(list({each.kernel.symbol: each.kernel for each in launches}.values()))

    @property
    def bytes_peak(self) -> int:
        """Bytes that a run needs: no buffer shares another's memory here."""
        return sum(each.nbytes for each in self._plan.buffers)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name."""
        check_inputs(self.program, values)
        memory = _Memory(self._device, [each.nbytes for each in self._plan.buffers])
        try:
            for buffer in self._plan.buffers:
                if buffer.role is Role.INPUT:
                    memory.fill(buffer.number, np.ascontiguousarray(values[buffer.name]))
                elif buffer.role is Role.CONSTANT:
                    memory.fill(buffer.number, np.frombuffer(buffer.data, np.uint8))
            for step in self.steps:
                self._do(step, memory)
            return {
                name: canonical(memory.read(self._plan.outputs[name])).copy()
                for name, _ in self.program.program.outputs
            }
        except InputError:
            ReferenceInterpreter().run(self.program, values)  # says which instruction it was
            raise
        finally:
            memory.free()

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run as `run` does, by the definition: the bits are the same, and this is for disputes."""
        return ReferenceInterpreter().run(self.program, values, observe)

    def _do(self, step: "GridLaunch | OpTask", memory: "_Memory") -> None:
        if isinstance(step, GridLaunch):
            places = [memory.addresses[each.buffer] + each.offset for each in step.arguments]
            self._device.launch(step.kernel.symbol, step.kernel.threads, places)
            return
        operands = [None if each is None else memory.read(each) for each in step.operands]
        version = self.program.program.isa_version
        results = ReferenceInterpreter().step(version, step.op, operands, step.attributes)
        for view, result in zip(step.results, results, strict=True):
            memory.write(view, result)


def _lower(task: Task) -> GridLaunch | OpTask:
    if isinstance(task, LoopTask):
        form, addresses = canonical_form(task)
        row = math.prod(form.row)
        if form.folds and row > ROW_MAX:
            raise RefusedError(
                f"the cuda backend folds rows of up to {ROW_MAX} elements, this one has {row}",
                hint="hardware_backend='native' has no limit",
            )
        return GridLaunch(LoopKernel(form), addresses)
    if task.op.name != "MatMul":
        return task
    views = [each for each in (*task.operands, *task.results) if each is not None]
    places = [Address(each.buffer, each.offset * each.type.dtype.itemsize) for each in views]
    return GridLaunch(product_of(task), tuple(places))


class _Memory:
    """Buffers on the device, by number."""

    def __init__(self, device: Device, sizes: Sequence[int]) -> None:
        self._device, self._sizes = device, sizes
        self.addresses: list[int] = []
        try:
            for size in sizes:
                self.addresses.append(device.allocate(max(size, 1)))
        except MemoryError:
            self.free()
            raise

    def free(self) -> None:
        for address in self.addresses:
            self._device.free(address)

    def fill(self, number: int, content: Array) -> None:
        """Write a whole buffer."""
        if content.nbytes:
            flat = content.reshape(-1).view(np.uint8)
            self._device.upload(self.addresses[number], flat)

    def read(self, view: View) -> Array:
        """A view's elements, on the host."""
        return self._array(view)[0]

    def write(self, view: View, value: Array) -> None:
        """Write a view's elements from the host."""
        array, whole = self._array(view)
        array[...] = value
        self.fill(view.buffer, whole)

    def _array(self, view: View) -> tuple[Array, Array]:
        whole = self._device.download(self.addresses[view.buffer], self._sizes[view.buffer])
        dtype = view.type.dtype.numpy
        if not view.type.elements:
            return np.empty(view.type.shape, dtype), whole
        strides = tuple(each * dtype.itemsize for each in view.strides)
        offset = view.offset * dtype.itemsize
        return np.ndarray(view.type.shape, dtype, whole, offset, strides), whole
