"""Every case, by what it computes."""

from collections.abc import Iterator

from tests.conformance.vm.golden.case import Case
from tests.conformance.vm.golden.scalar_case import ScalarCase
from tests.conformance.vm.golden.scalar_kernels import FUNCTIONS
from tests.conformance.vm.golden.training import MODELS
from tests.conformance.vm.golden.training_case import TrainingCase

from bcai.vm.isa.types import DType


def cases() -> Iterator[Case]:
    """All of the corpus."""
    for dtype in (DType.float32, DType.float64):
        for name in FUNCTIONS:
            yield ScalarCase(name, dtype)
    for model in MODELS:
        yield TrainingCase(model)
