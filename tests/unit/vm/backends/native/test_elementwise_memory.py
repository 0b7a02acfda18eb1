"""Elements come from memory and go back at any stride, and no others are touched."""

from dataclasses import dataclass

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import same_bits
from tests.unit.vm.backends.native.harness import each_target, run_launches
from tests.unit.vm.backends.native.test_elementwise import operands

from bcai.vm.backends.native.elementwise import Lanes, load_element, store_element
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.launch import Address, Launch, entry
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

LANES = 8
MIDDLE = 40
"""Where the first element lies, so that steps of either sign stay inside."""

EACH_FORM = (DType.float16, DType.float64, DType.uint8, DType.bool)
"""A type of every form in registers."""


@dataclass(frozen=True)
class MoveKernel:
    """Slots: source, result, stride of each, elements. `known`: the strides stand in the code."""

    dtype: DType
    strides: tuple[int, int]
    known: bool
    partial: bool
    library: str | None = None

    @property
    def symbol(self) -> str:
        steps = "_".join(f"{each}".replace("-", "m") for each in self.strides)
        return f"move_{self.dtype.name}_{steps}_{self.known:d}{self.partial:d}"

    def write(self, module: Module, target: Target) -> None:
        at = entry(module, self.symbol)
        f, lanes = at.f, Lanes(at.f, target, LANES)
        step, result_step = self.strides if self.known else (at.number(2), at.number(3))
        first = at.number(4) if self.partial else None
        source, result = (
            f.offset(at.pointer(slot), MIDDLE, IN_MEMORY[self.dtype]) for slot in (0, 1)
        )
        value = load_element(lanes, source, self.dtype, stride=step, first=first)
        store_element(lanes, value, result, self.dtype, stride=result_step, first=first)
        f.give(0)


@pytest.mark.parametrize("dtype", EACH_FORM, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target())
def test_every_stride(target: Target, dtype: DType) -> None:
    source = operands(dtype)[1][-2 * MIDDLE - 1 :]
    for strides in ((1, 1), (0, 1), (3, -2), (-1, 1)):
        for known in (True, False):
            for count in (1, 5, LANES):
                result = np.zeros(source.shape, dtype.numpy)
                wanted = result.copy()
                for lane in range(count):
                    wanted[MIDDLE + lane * strides[1]] = source[MIDDLE + lane * strides[0]]
                kernel = MoveKernel(dtype, strides, known, count < LANES)
                slots = (Address(0), Address(1), *strides, count)
                launch = Launch(kernel, slots, 1, (0,), (1,), 0)
                assert run_launches([launch], [source.copy(), result], target) == 0
                assert same_bits(result, wanted).all(), (strides, known, count)
