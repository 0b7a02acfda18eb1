"""Programs on any target: their launches are laid out as memory images and run by a machine."""

from collections.abc import Mapping

import numpy as np
from tests.conformance.vm.golden.image import POISON, lay_out
from tests.conformance.vm.golden.machines import run_image

from bcai.vm.backends.native.executable import plan
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.native.steps import Steps, lower_plan
from bcai.vm.backends.native.target import Target
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter, canonical
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import OpTask, Role, View
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


class Laid:
    """A program compiled for a target that may be foreign; every launch in up to `pieces` calls."""

    def __init__(self, program: VerifiedProgram, target: Target, pieces: int) -> None:
        self._program, self._target, self._pieces = program, target, pieces
        self._steps: Steps = lower_plan(plan(keep_refusals(expand(program))), target, 1)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name."""
        contents = [
            np.ascontiguousarray(values[each.name]).tobytes()
            if each.role is Role.INPUT
            else each.data or bytes([POISON]) * each.nbytes
            for each in self._steps.buffers
        ]
        stretch: list[Launch] = []
        for step in self._steps.steps:
            if isinstance(step, Launch):
                stretch.append(step)
                continue
            self._launch(stretch, contents)
            stretch = []
            self._define(step, contents)
        self._launch(stretch, contents)
        outputs = self._steps.outputs
        return {
            name: canonical(_view(outputs[name], contents)).copy()
            for name, _ in self._program.program.outputs
        }

    def _launch(self, launches: list[Launch], contents: list[bytes]) -> None:
        if launches:
            image = lay_out(launches, [*map(len, contents)], contents, self._pieces)
            memory = run_image(image, self._target)
            for number, place in enumerate(image.buffers):
                contents[number] = memory[place : place + len(contents[number])].tobytes()

    def _define(self, task: OpTask, contents: list[bytes]) -> None:
        operands = [None if each is None else _view(each, contents) for each in task.operands]
        version = self._program.program.isa_version
        results = ReferenceInterpreter().step(version, task.op, operands, task.attributes)
        for view, result in zip(task.results, results, strict=True):
            memory = bytearray(contents[view.buffer])
            _view(view, {view.buffer: memory})[...] = result
            contents[view.buffer] = bytes(memory)


def _view(view: View, contents: "Mapping[int, bytes | bytearray] | list[bytes]") -> Array:
    dtype = view.type.dtype.numpy
    if not view.type.elements:
        return np.empty(view.type.shape, dtype)
    strides = tuple(each * dtype.itemsize for each in view.strides)
    memory = contents[view.buffer]
    return np.ndarray(view.type.shape, dtype, memory, view.offset * dtype.itemsize, strides)
