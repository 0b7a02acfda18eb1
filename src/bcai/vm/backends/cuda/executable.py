"""A program on a device: loops and matrix products there, the rest by the definition on the host.

Plain on purpose: every value has memory of its own, and what the device has no kernel for goes to
the host and back. Copies go on beside kernels (Note [Streams]): a step's inputs are uploaded when
it is its turn, and an output is downloaded as soon as its last step has been launched.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bcai.base.errors import InputError, RefusedError, ResourceError
from bcai.base.units import format_size
from bcai.vm.backends.cuda.device import Device, Work
from bcai.vm.backends.cuda.loop import ROW_MAX, LoopKernel
from bcai.vm.backends.cuda.memory import Memory
from bcai.vm.backends.cuda.product import ProductKernel, product_of
from bcai.vm.backends.native.executable import plan
from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.loops.canonical import canonical as canonical_form
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.reference.float_mode import default_float_mode
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter, canonical, check_inputs
from bcai.vm.compiler.backend import Observer
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import LoopTask, OpTask, Task, writes
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class GridLaunch:
    """A kernel and what it works on."""

    kernel: LoopKernel | ProductKernel
    arguments: tuple[Address, ...]


Step = GridLaunch | OpTask
"""What is done on the device, and what on the host."""


class CudaExecutable:
    """A program, compiled for a device. Raises RefusedError if it holds Python code."""

    @default_float_mode()
    def __init__(self, verified: VerifiedProgram, device: Device) -> None:
        if any(each.op is python_execute for each in verified.program.instructions):
            raise RefusedError(
                "the cuda backend runs no Python code", hint="hardware_backend='native' does"
            )
        self.program = verified
        self._device = device
        self._plan = plan(keep_refusals(expand(verified)))
        tasks = self._plan.tasks
        self.steps = [_lower(task) for task in tasks]
        self._finished = self._outputs_finished_by([writes(task) for task in tasks])
        launches = [each for each in self.steps if isinstance(each, GridLaunch)]
        device.load(list({each.kernel.symbol: each.kernel for each in launches}.values()))

    @property
    def bytes_peak(self) -> int:
        """Bytes that a run needs: no buffer shares another's memory here."""
        return sum(each.nbytes for each in self._plan.buffers)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name.

        Raises
        ------
        ResourceError
            The GPU, or page-locked memory, has no room for it.
        """
        ports = (port.name for port in self.program.program.ports)
        values = dict(zip(ports, check_inputs(self.program, values), strict=True))
        work = self._device.open()
        try:
            memory = Memory(work, self._plan.buffers, values)
            found = self._start(self._finished[0], memory)
            for number, step in enumerate(self.steps, 1):
                if isinstance(step, GridLaunch):
                    self._launch(step, work, memory)
                else:
                    self._compute(step, self.steps[number : number + 1], memory)
                found |= self._start(self._finished[number], memory)
            arrays = {name: found[name]() for name, _ in self.program.program.outputs}
            return {name: canonical(array).copy() for name, array in arrays.items()}
        except InputError:
            ReferenceInterpreter().run(self.program, values)  # says which instruction it was
            raise
        except ResourceError as error:
            needed = format_size(self.bytes_peak)
            raise ResourceError(f"the program needs {needed}: {error}", hint=error.hint) from error
        finally:
            work.close()

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run as `run` does, by the definition: the bits are the same, and this is for disputes."""
        return ReferenceInterpreter().run(self.program, values, observe)

    def _start(self, names: Sequence[str], memory: Memory) -> dict[str, Callable[[], Array]]:
        """Begin to read outputs."""
        return {name: memory.read(self._plan.outputs[name]) for name in names}

    def _launch(self, step: GridLaunch, work: Work, memory: Memory) -> None:
        memory.enter({each.buffer for each in step.arguments})
        places = [memory.addresses[each.buffer] + each.offset for each in step.arguments]
        work.launch(step.kernel.symbol, step.kernel.threads, places)

    def _compute(self, step: OpTask, following: Sequence[Step], memory: Memory) -> None:
        """Do what no kernel does; meanwhile what a kernel needs next is copied."""
        copies = [None if each is None else memory.read(each) for each in step.operands]
        for each in following:
            if isinstance(each, GridLaunch):
                memory.bring({argument.buffer for argument in each.arguments})
        operands = [None if each is None else each() for each in copies]
        version = self.program.program.isa_version
        results = ReferenceInterpreter().step(version, step.op, operands, step.attributes)
        for view, result in zip(step.results, results, strict=True):
            memory.write(view, result)

    def _outputs_finished_by(self, written: Sequence[set[int]]) -> list[list[str]]:
        """Names of the outputs that are there after so many steps."""
        last = {buffer: number for number, each in enumerate(written, 1) for buffer in each}
        found: list[list[str]] = [[] for _ in range(len(written) + 1)]
        for name, view in self._plan.outputs.items():
            found[last.get(view.buffer, 0)].append(name)
        return found


def _lower(task: Task) -> Step:
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
