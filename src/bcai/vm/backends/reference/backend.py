"""The reference backend: interprets the verified program itself, so that it can judge the others.

It is slow: every contraction is emulated one multiply-add at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import Executable, Observer, PythonRunner
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class ReferenceExecutable:
    """A program and the interpreter for it."""

    program: VerifiedProgram
    interpreter: ReferenceInterpreter

    @property
    def bytes_peak(self) -> int:
        """Bytes of all live values at the worst moment."""
        return self.program.bytes_peak

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name."""
        return self.interpreter.run(self.program, values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run as `run` does, and show every instruction's results."""
        return self.interpreter.run(self.program, values, observe)


class ReferenceBackend:
    """Plain NumPy, in the order that the instruction set lays down."""

    @property
    def name(self) -> str:
        """What users call it."""
        return "reference"

    @property
    def device(self) -> str:
        """What computes."""
        return "NumPy, 1 thread"

    def compile(
        self, program: VerifiedProgram, *, python: PythonRunner | None = None
    ) -> Executable:
        """Pair the program with an interpreter; nothing is compiled."""
        return ReferenceExecutable(program, ReferenceInterpreter(python))
