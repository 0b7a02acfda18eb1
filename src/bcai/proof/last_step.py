"""Traces the last step of a run on the way, so that it is computed once."""

from collections.abc import Mapping

from bcai.base.merkle import TreeHead
from bcai.proof.step_trace import StepLayout, run_and_trace
from bcai.vm.compiler.backend import Executable, Observer
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


class LastStepTraced:
    """An executable whose `steps`-th run is traced.

    Attributes
    ----------
    head
        Of that step's trace, once it has run.
    """

    def __init__(self, executable: Executable, program: VerifiedProgram, steps: int) -> None:
        self.head: TreeHead | None = None
        self._executable, self._program, self._left = executable, program, steps

    @property
    def bytes_peak(self) -> int:
        """Bytes that a run needs at its worst moment."""
        return self._executable.bytes_peak

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run a step, the next one."""
        self._left -= 1
        if self._left:
            return self._executable.run(values)
        outputs, trace = run_and_trace(StepLayout(self._program), self._executable, values)
        self.head = trace.tree.head
        return outputs

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        """Run outside of the run's order."""
        return self._executable.run_traced(values, observe)
