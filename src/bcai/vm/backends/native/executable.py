"""A program as native code: one call from Python for each stretch that has no foreign code."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcai.base.errors import InputError, RefusedError
from bcai.base.units import format_size
from bcai.vm.backends.native.bound import Bound, Fault
from bcai.vm.backends.native.layout import Layout
from bcai.vm.backends.native.memory import BlockPool
from bcai.vm.backends.native.objects import ObjectCache, this_machine
from bcai.vm.backends.native.pool import shared_pool, threads_available
from bcai.vm.backends.native.prepare import Machine, plan, prepare
from bcai.vm.backends.native.run_bytes import run_bytes
from bcai.vm.backends.native.traced import NativeInterpreter
from bcai.vm.backends.reference.interpreter import (
    ReferenceInterpreter,
    as_declared,
    canonical,
    check_inputs,
    run_python,
)
from bcai.vm.compiler.backend import Observer, PythonCode, PythonRunner
from bcai.vm.compiler.plan import Buffer, OpTask, Role, View
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array, DType
from bcai.vm.program.program import VerifiedProgram

SPARE_MAX = 2
"""Arenas that an executable keeps for its next runs: more run at once, but then let go."""


def open_machine(cache: Path | None, threads: int | None, clock: Callable[[], float]) -> Machine:
    """This machine, with at most so many threads and the code that `cache` holds.

    Raises
    ------
    RefusedError
        There is no code for its processor.
    """
    target = this_machine()
    if target is None:
        raise RefusedError("native code: this processor has no vector unit that it is written for")
    return Machine(target, threads_available(threads), ObjectCache(cache), BLOCKS, clock, plan)


BLOCKS = BlockPool()
"""Arenas and outputs of this process."""


class NativeExecutable:
    """A program, compiled. Any number of Python threads may run it; the pool takes turns.

    Attributes
    ----------
    bytes_peak
        Bytes that a run needs at its worst moment, inputs and outputs included
        (Note [Bytes of a run]).
    compile_s
        Seconds that planning, writing and loading the code took.
    """

    def __init__(
        self, verified: VerifiedProgram, machine: Machine, python: PythonRunner | None = None
    ) -> None:
        started = machine.clock()
        self.program = verified
        self._machine = machine
        self._python = python
        layout, self._code = prepare(verified, machine)
        constants = machine.blocks.aligned(layout.constants.nbytes)
        constants[...] = layout.constants
        self._layout = replace(layout, constants=constants)  # held once
        self._spare: deque[Bound] = deque()
        self._ports = _number_ports(verified, self._layout.buffers)
        self._wanted = [
            (port.name, port.type, port.type.dtype.numpy) for port in verified.program.ports
        ]
        self._leaving, self._outputs = _open_outputs(verified, self._layout)
        self._traced: NativeInterpreter | None = None
        self.bytes_peak = run_bytes(self._layout, machine.threads)
        shared_pool(machine.target, machine.objects, machine.threads)  # compiled here, not in a run
        self.compile_s = machine.clock() - started

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name."""
        arrays = self._admit(values)
        answers: list[Mapping[str, Array]] = []
        try:
            return self._run(arrays, _recording(self._python, answers))
        except Fault:
            self._explain(values, answers)
            raise

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run instruction by instruction, and show every instruction's results: the same bits."""
        if self._traced is None:
            self._traced = NativeInterpreter(self.part, self._python)
        return self._traced.run(self.program, values, observe)

    def part(self, program: VerifiedProgram) -> "NativeExecutable":
        """An executable of another program on the same machine."""
        return NativeExecutable(program, self._machine)

    def run_part(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run as `run` does; raises Fault, without a reason, where `run` finds one."""
        return self._run(self._admit(values), None)

    def describe(self) -> str:
        """What was made of the program, in a few lines."""
        layout, machine = self._layout, self._machine
        constants = format_size(layout.constants.nbytes)
        return "\n".join(
            [
                f"{len(self.program.program.instructions)} instructions as "
                f"{len(layout.tape)} launches of {len(self._code.addresses)} kernels",
                f"processor: {machine.target.name}, {machine.threads} threads",
                f"by definition: {', '.join(layout.defined) or 'nothing'}",
                f"memory: {format_size(self.bytes_peak)} at the peak, of it "
                f"{format_size(layout.arena.nbytes)} arena, {constants} constants",
                f"made ready in {self.compile_s:.3f} s",
            ]
        )

    def _admit(self, values: Mapping[str, Array]) -> list[Array]:
        """The ports' arrays in order, contiguous and aligned. Raises InputError."""
        arrays: list[Array] = []
        for name, type_, dtype in self._wanted:
            array = values.get(name)
            if type(array) is not np.ndarray:
                try:
                    array = as_declared(array, type_)
                except (TypeError, ValueError, RuntimeError, InputError):
                    break
            if array.dtype != dtype or array.shape != type_.shape:
                break
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned) or dtype is _BOOL:
                array = _in_order(array)
            arrays.append(array)
        if len(arrays) < len(self._wanted) or len(values) != len(arrays):
            return [_in_order(each) for each in check_inputs(self.program, values)]
        return arrays

    def _run(self, arrays: Sequence[Array], python: PythonRunner | None) -> dict[str, Array]:
        given = {number: arrays[place] for number, place in self._ports}
        blocks = self._machine.blocks
        for number, dtype, shape, nbytes in self._leaving:
            given[number] = blocks.empty(dtype, shape, nbytes)
        try:
            bound = self._spare.pop()
        except IndexError:
            bound = Bound(self._layout, self._code.addresses, blocks)
        machine = self._machine
        pool = shared_pool(machine.target, machine.objects, machine.threads)
        bound.run(given, pool, _Definition(python, self.program).run)
        outputs = {
            name: given[view.buffer] if whole else self._leave(view, bound, given)
            for name, view, whole in self._outputs
        }
        if len(self._spare) < SPARE_MAX:
            self._spare.append(bound)
        return outputs

    def _leave(self, view: View, bound: Bound, given: Mapping[int, Array]) -> Array:
        """An output as an array of its own."""
        if self._layout.buffers[view.buffer].role is not Role.OUTPUT:
            return canonical(bound.array(view, given).copy(order="C"))
        whole, type_ = given[view.buffer].reshape(-1).view(_BYTE), view.type
        start = view.offset * type_.dtype.itemsize
        return whole[start : start + type_.nbytes].view(type_.dtype.numpy).reshape(type_.shape)

    def _explain(self, values: Mapping[str, Array], answers: list[Mapping[str, Array]]) -> None:
        """Raise what the definition raises; Python code is not run again."""
        replies = iter(answers)

        def reply(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
            del code, inputs
            return next(replies)

        runner = None if self._python is None else reply
        NativeInterpreter(self.part, runner).run(self.program, values)
        raise AssertionError("native code refuses what the definition accepts")


_BYTE: "np.dtype[np.uint8]" = np.dtype(np.uint8)
_BOOL = DType.bool.numpy


def _recording(
    python: PythonRunner | None, answers: list[Mapping[str, Array]]
) -> PythonRunner | None:
    if python is None:
        return None

    def run(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        answers.append(python(code, inputs))
        return answers[-1]

    return run


class _Definition:
    """Runs instructions by their definition; Python code by its runner."""

    def __init__(self, python: PythonRunner | None, verified: VerifiedProgram) -> None:
        self._python, self._verified = python, verified
        self._codes = 0

    def run(self, task: OpTask, operands: list[Array | None]) -> Sequence[Array]:
        if task.op is not python_execute or self._python is None:
            version = self._verified.program.isa_version
            try:
                return ReferenceInterpreter().step(version, task.op, operands, task.attributes)
            except InputError as error:
                raise Fault from error
        self._codes += 1
        copies = [None if each is None else canonical(each) for each in operands]
        try:
            return run_python(self._python, copies, task.attributes)
        except InputError as error:
            place = f"instruction {self._position()} (PythonExecute)"
            raise type(error)(f"{place}: {error}", hint=error.hint) from error

    def _position(self) -> int:
        """Of the present code in the program as it was given: none is dropped, merged or moved."""
        instructions = self._verified.program.instructions
        found = [place for place, each in enumerate(instructions) if each.op is python_execute]
        return found[self._codes - 1]


_Leaving = tuple[int, "np.dtype[Any]", tuple[int, ...], int]
"""Number of a buffer, its element type, shape and bytes."""


def _open_outputs(
    verified: VerifiedProgram, layout: Layout
) -> tuple[list[_Leaving], list[tuple[str, View, bool]]]:
    """The buffers that leave, and each output with whether it is such a buffer as it is."""
    leaving: dict[int, _Leaving] = {
        each.number: (each.number, _BYTE, (each.nbytes,), each.nbytes)
        for each in layout.buffers
        if each.role is Role.OUTPUT
    }
    shaped: dict[int, View] = {}
    outputs: list[tuple[str, View, bool]] = []
    for name, _ in verified.program.outputs:
        view = layout.outputs[name]
        buffer, type_ = layout.buffers[view.buffer], view.type
        whole = view.offset == 0 and buffer.nbytes == type_.nbytes and buffer.role is Role.OUTPUT
        if whole and shaped.setdefault(view.buffer, view).type == type_:
            leaving[view.buffer] = (view.buffer, type_.dtype.numpy, type_.shape, type_.nbytes)
            outputs.append((name, view, True))
        else:
            outputs.append((name, view, False))
    return list(leaving.values()), outputs


def _in_order(array: Array) -> Array:
    """The same values, contiguous and aligned; truth values are 0 or 1 in memory."""
    if not (array.flags.c_contiguous and array.flags.aligned):
        array = np.array(array, order="C", ndmin=array.ndim)
    if array.dtype == np.bool_ and array.size and array.view(_BYTE).max() > 1:
        array = array.view(_BYTE) != 0
    return array


def _number_ports(verified: VerifiedProgram, buffers: Sequence[Buffer]) -> list[tuple[int, int]]:
    """Buffer numbers of the inputs that are used, and their places among the ports."""
    places = {port.name: place for place, port in enumerate(verified.program.ports)}
    return [(each.number, places[each.name]) for each in buffers if each.role is Role.INPUT]
