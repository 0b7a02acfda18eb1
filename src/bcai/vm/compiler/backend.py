"""What a backend is: it turns a program into something that runs.

Every backend gives the bits that the instruction set defines; they differ in speed. `run` may do
the whole program as one function, `run_traced` goes instruction by instruction and gives the same
bits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram

Observer = Callable[[int, tuple[Array, ...]], None]
"""Sees each instruction's position and results, in order; not-a-number has its one pattern."""


class Executable(Protocol):
    """A program, ready to run any number of times."""

    @property
    def bytes_peak(self) -> int:
        """Bytes that a run needs at its worst moment."""
        ...

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name.

        Raises
        ------
        InputError
            A value is missing, unknown, or not of its port's type; or an index is out of range.
        RefusedError
            The program holds Python code, and nothing here runs it.
        """
        ...

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run as `run` does, and show every instruction's results. Raises what `run` raises."""
        ...


@dataclass(frozen=True, slots=True)
class PythonCode:
    """What a `PythonExecute` asks for: its attributes, with the outputs as declared."""

    code: str
    outputs: Mapping[str, TensorType]
    sandbox: str
    gpu: bool


class PythonRunner(Protocol):
    """Runs the Python code of a program; the bridge has the one that uses the jail."""

    def __call__(self, code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run code on its inputs and return its outputs, by name.

        The caller checks names and types. Raises JobError if the code fails, RefusedError if this
        machine cannot run it as safely as it asks for.
        """
        ...


class Backend(Protocol):
    """One way to run programs."""

    @property
    def name(self) -> str:
        """What users call it, such as `reference`."""
        ...

    @property
    def device(self) -> str:
        """What computes, in words for the user."""
        ...

    def compile(
        self, program: VerifiedProgram, *, python: PythonRunner | None = None
    ) -> Executable:
        """Make a program ready to run; its Python code, if it has any, is run by `python`."""
        ...
