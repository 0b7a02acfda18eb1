"""The machine: takes instructions or programs, runs them on a backend, and keeps their tensors."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcai.base.allowance import memory_bytes
from bcai.base.errors import NotFoundError, RefusedError, ResourceError
from bcai.base.units import MIB, format_size
from bcai.vm.compiler.backend import Backend, Executable, Observer, PythonRunner
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import ProgramLimits
from bcai.vm.runtime.arguments import (
    as_array,
    check_count,
    check_inputs,
    check_instructions,
    check_program,
    check_stack_code,
)
from bcai.vm.runtime.choose_backend import choose_backend
from bcai.vm.runtime.form import Start
from bcai.vm.runtime.kept_tensors import KeptTensors
from bcai.vm.runtime.ml_instruction import MLInstruction
from bcai.vm.runtime.result import ExecutionResult
from bcai.vm.runtime.tensor_id import TensorId
from bcai.vm.runtime.translate import translate
from bcai.vm.stack import machine
from bcai.vm.stack.bytecode import StackInstruction, decode

EXECUTABLES_MAX = 8
"""Compiled programs that a machine keeps, each with its arena."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A program and what runs it."""

    program: VerifiedProgram
    root: bytes
    executable: Executable

    @property
    def bytes_peak(self) -> int:
        return max(self.program.bytes_peak, self.executable.bytes_peak)


class EnhancedVM:
    """Runs instructions over numbered tensors, and keeps the tensors between programs.

    Parameters
    ----------
    hardware_backend
        Name of a backend, or `auto`.
    enable_python, python
        Whether programs may hold Python code, and what runs it (see `bcai.vm.compiler.backend`).
    enable_gpu
        Whether that code may ask for a GPU.
    max_memory_mb
        The largest program that is accepted, by its live values at the worst moment and by what
        the backend needs for it, together with the other tensors that are kept; None for what
        this machine has, or the container.
    compress
        Whether tensors that were not used for long are kept compressed where they would not fit
        otherwise (Note [Kept tensors]).
    seed
        Key of first values, such as a `Linear`'s missing weight.
    clock
        Seconds from any point on, such as `time.perf_counter`; without it nothing is timed.
    threads
        How many processors a program's native code uses at most; None for all.

    Raises
    ------
    InputError
        An argument is not what it should be.
    RefusedError
        This machine does not have the backend.
    """

    def __init__(
        self,
        *,
        hardware_backend: str = "auto",
        enable_python: bool = True,
        enable_gpu: bool = False,
        max_memory_mb: int | None = None,
        compress: bool = True,
        seed: int = 0,
        python: PythonRunner | None = None,
        clock: Callable[[], float] | None = None,
        threads: int | None = None,
        backends: Sequence[Backend] | None = None,
    ) -> None:
        check_count("threads", threads)
        check_count("max_memory_mb", max_memory_mb)
        self.choice = choose_backend(hardware_backend, backends, threads=threads)
        self._compiled: dict[bytes, _Compiled] = {}
        self._python = python if enable_python else None
        self._why_no_python = "" if enable_python else "enable_python is off"
        self._enable_gpu = enable_gpu
        memory = memory_bytes() if max_memory_mb is None else max_memory_mb * MIB
        self._limits = ProgramLimits(bytes_peak=memory)
        self._seed = seed
        self._clock = clock
        self._kept = KeptTensors(memory, compressing=compress)
        self._job: tuple[str | None, str | None] = (None, None)

    def start_execution(self, job_id: str, node_id: str) -> None:
        """Begin a job: forget the tensors of the last one, and name this one on every result."""
        self._job = (job_id, node_id)
        self._kept.clear()

    def set_tensor(self, identity: int, value: npt.ArrayLike) -> None:
        """Keep a value for programs to come. Raises RefusedError if memory is too small for it."""
        name = f"tensor {identity}"
        self._kept.set(TensorId(identity).port, as_array(value, name), name)

    def tensor(self, identity: int) -> Array:
        """Present value of a tensor, read-only. Raises NotFoundError if it has none."""
        found = self._kept.get(TensorId(identity).port)
        if found is None:
            there = ", ".join(map(repr, self.tensors)) or "none"
            raise NotFoundError(f"{TensorId(identity)!r} has no value; there are {there}")
        return found

    @property
    def tensors(self) -> list[TensorId]:
        """Tensors that have a value."""
        return [each for port in self._kept for each in _identity(port)]

    @property
    def bytes_kept(self) -> int:
        """Bytes that tensors take between programs; those that are compressed count as they are."""
        return self._kept.nbytes

    def execute_program(
        self,
        instructions: Sequence[MLInstruction],
        inputs: Mapping[int, npt.ArrayLike] | None = None,
        *,
        outputs: Iterable[int] | None = None,
        observe: Observer | None = None,
    ) -> ExecutionResult[TensorId]:
        """Run instructions; tensors that get a value keep it for programs to come.

        The result's arrays are the kept ones, and read-only.

        Parameters
        ----------
        inputs
            Values for this run alone, by id; they go before kept ones.
        outputs
            Tensors that come out; without it every one that got a value and was not freed.
        observe
            Sees the position and the results of every instruction of the program.

        Raises
        ------
        VerifyError
            The instructions are not a legal program; the message names the instruction.
        InputError, RefusedError, ResourceError
            See `run`.
        """
        inputs = {} if inputs is None else inputs
        check_inputs(inputs)
        given = {
            TensorId(key).port: as_array(value, f"inputs[{key}]") for key, value in inputs.items()
        }
        translation = translate(
            check_instructions(instructions),
            inputs={port: TensorType.of(array) for port, array in given.items()},
            kept=self._kept.types,
            outputs=None if outputs is None else [TensorId(each) for each in outputs],
            limits=self._limits,
        )
        compiled = self._ready(translation.program)
        ports = [each.name for each in translation.program.program.ports]
        self._make_room(compiled, [each for each in ports if each not in given])
        starts = {port: self._start(port, each) for port, each in translation.starts.items()}
        values = starts | given
        for port in ports:
            if port not in values and (kept := self._kept.get(port)) is not None:
                values[port] = kept
        result = self._run(compiled, {port: values[port] for port in ports}, observe)
        for port, array in (starts | dict(result.outputs)).items():
            self._kept.put(port, array)
        for port in translation.freed:
            self._kept.drop(port)
        found = {key: array for port, array in result.outputs.items() for key in _identity(port)}
        told = {
            key: _describe(start, self._seed)
            for port, start in translation.starts.items()
            for key in _identity(port)
        }
        return ExecutionResult(
            found, result.program, result.program_root, result.backend, result.backend_reason,
            result.job_id, result.node_id, result.wall_s, told,
        )  # fmt: skip

    def run(
        self,
        program: VerifiedProgram,
        inputs: Mapping[str, Array],
        *,
        observe: Observer | None = None,
    ) -> ExecutionResult[str]:
        """Run a verified program on inputs and parameters by name; nothing is kept.

        Raises
        ------
        InputError
            A value is missing, unknown, or not of its port's type; or an index is out of range.
        RefusedError
            The program holds Python code that nothing here may run, or memory is too small for it.
        ResourceError
            There was not as much memory left as was allowed.
        """
        check_program(program)
        check_inputs(inputs)
        compiled = self._ready(program)
        self._make_room(compiled, ())
        return self._run(compiled, inputs, observe)

    def execute_stack(
        self,
        code: bytes | Sequence[StackInstruction],
        memory: Iterable[tuple[int, float]] = (),
        limits: machine.StackLimits | None = None,
    ) -> machine.StackResult:
        """Run legacy stack code, as bytes or as instructions.

        Raises
        ------
        InputError
            It is not that; else what `bcai.vm.stack` raises.
        """
        instructions = decode(code) if isinstance(code, bytes) else check_stack_code(code)
        return machine.run(instructions, memory, limits or machine.StackLimits())

    def _ready(self, program: VerifiedProgram) -> _Compiled:
        """Admit and compile a program, or take what was compiled for it. Raises RefusedError."""
        # A training step has thousands of instructions: hashing them takes a quarter of its run.
        known = (root for root, each in self._compiled.items() if each.program is program)
        root = next(known, None)
        if root is None:
            self._admit(program)
            root = program_root(program.program)
        found = self._compiled.pop(root, None)
        executable = self._compile(program) if found is None else found.executable
        self._compiled[root] = _Compiled(program, root, executable)
        return self._compiled[root]

    def _run(
        self, compiled: _Compiled, inputs: Mapping[str, Array], observe: Observer | None
    ) -> ExecutionResult[str]:
        started = self._clock() if self._clock else 0.0
        executable = compiled.executable
        try:
            if observe is None:
                outputs = executable.run(inputs)
            else:
                outputs = executable.run_traced(inputs, observe)
        except MemoryError as error:
            needed = format_size(compiled.bytes_peak)
            raise ResourceError(f"the program needs {needed}: {error or 'none is left'}") from error
        wall_s = self._clock() - started if self._clock else None
        return ExecutionResult(
            outputs, compiled.program, compiled.root, self.choice.backend.name,
            self.choice.reason, *self._job, wall_s,
        )  # fmt: skip

    def _compile(self, program: VerifiedProgram) -> Executable:
        """Compile, and make room for it. Raises RefusedError."""
        executable = self.choice.backend.compile(program, python=self._python)
        self._check_bytes(executable.bytes_peak)
        while len(self._compiled) >= EXECUTABLES_MAX:
            del self._compiled[next(iter(self._compiled))]
        return executable

    def _make_room(self, compiled: _Compiled, ports: Collection[str]) -> None:
        """Let a program run beside the tensors that are kept, some of its own. Raises RefusedError.

        Every compiled program holds an arena: the one that ran the longest ago is forgotten first.
        """
        for root in list(self._compiled):
            held = sum(each.bytes_peak for each in self._compiled.values())
            if held + self._kept.nbytes <= self._limits.bytes_peak:
                break
            if root != compiled.root:
                del self._compiled[root]
        self._kept.make_room(compiled.bytes_peak, ports)

    def _check_bytes(self, bytes_peak: int) -> None:
        if bytes_peak > self._limits.bytes_peak:
            raise RefusedError(
                f"the program needs {format_size(bytes_peak)} at its peak, "
                f"max_memory_mb allows {format_size(self._limits.bytes_peak)}"
            )

    def _admit(self, program: VerifiedProgram) -> None:
        self._check_bytes(program.bytes_peak)
        for position, instruction in enumerate(program.program.instructions):
            if instruction.op is not python_execute:
                continue
            place = f"instruction {position} (PythonExecute)"
            if self._python is None:
                why = self._why_no_python or "nothing here runs Python code"
                raise RefusedError(
                    f"{place}: {why}",
                    hint="run the program on a node, or give EnhancedVM a `python` runner",
                )
            if instruction.attributes["gpu"] and not self._enable_gpu:
                raise RefusedError(f"{place}: it asks for a GPU, and enable_gpu is off")

    def _start(self, port: str, start: Start) -> Array:
        """Make a first value: by a program of its own, as everything here is computed."""
        type_ = start.type
        builder = Builder()
        if start.low == start.high:
            attributes = {"shape": type_.shape, "value": start.low, "dtype": type_.dtype}
            symbol = builder.emit("Full", (), attributes)[0]
        else:
            wide = DType.float64 if type_.dtype is DType.float64 else DType.float32
            seed, step = (builder.constant(np.asarray(each, np.int64)) for each in (self._seed, 0))
            attributes = {"stream": int(port[1:]), "shape": type_.shape, "dtype": wide}
            drawn = builder.emit("Uniform", (seed, step), attributes)[0]
            symbol = (drawn * (start.high - start.low) + start.low).cast(type_.dtype)
        program = builder.finish(value=symbol)
        return self.choice.backend.compile(program).run({})["value"]


def _identity(port: str) -> list[TensorId]:
    """Id of a port that has one."""
    return [TensorId(int(port[1:]))] if port[1:].isdigit() else []


def _describe(start: Start, seed: int) -> str:
    if start.low == start.high:
        return f"{start.type} of {start.low:g}"
    return f"{start.type} uniform in +-{start.text or start.high}, Philox, seed {seed}"
