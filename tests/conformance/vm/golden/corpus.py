"""Every case, by what it computes."""

from collections.abc import Iterator

from tests.conformance.vm.golden.case import Case
from tests.conformance.vm.golden.program_case import ProgramCase, TrainingCase
from tests.conformance.vm.golden.programs import PROGRAMS
from tests.conformance.vm.golden.scalar_case import ScalarCase
from tests.conformance.vm.golden.scalar_kernels import FUNCTIONS
from tests.conformance.vm.golden.training import MODELS

from bcai.vm.isa.types import DType


def cases() -> Iterator[Case]:
    """All of the corpus."""
    for dtype in (DType.float32, DType.float64):
        for name in FUNCTIONS:
            yield ScalarCase(name, dtype)
    yield from map(ProgramCase, PROGRAMS)
    yield from map(TrainingCase, MODELS)
