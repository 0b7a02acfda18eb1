"""One kernel that applies many element-by-element instructions to the same operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.unit.vm.backends.native.harness import run_launches

from bcai.vm.backends.native.elementwise import (
    Lanes,
    apply,
    load_element,
    store_element,
)
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.launch import Address, Launch, entry
from bcai.vm.backends.native.llvm import Module, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, DType


@dataclass(frozen=True)
class Use:
    """An instruction on some of the operands, by number."""

    op: Op
    operands: tuple[int, ...]
    attributes: Mapping[str, Any]
    dtype: DType

    @property
    def name(self) -> str:
        """The instruction with its attributes."""
        return f"{self.op.name} {dict(self.attributes)}"


@dataclass(frozen=True)
class UsesKernel:
    """Slots: the operands' addresses, then the results'. A unit is one element of each."""

    symbol: str
    uses: tuple[Use, ...]
    dtypes: tuple[DType, ...]
    lanes: int
    library: str | None = None

    def write(self, module: Module, target: Target) -> None:
        at = entry(module, self.symbol)
        f, lanes = at.f, Lanes(at.f, target, self.lanes)
        pointers = [at.pointer(slot) for slot in range(len(self.dtypes) + len(self.uses))]
        with f.loop(at.begin, at.end, self.lanes) as loop:
            first = f.minimum(self.lanes, f.sub(at.end, loop.index))
            values: list[Value] = []
            for pointer, dtype in zip(pointers, self.dtypes, strict=False):
                place = f.offset(pointer, loop.index, IN_MEMORY[dtype])
                values.append(load_element(lanes, place, dtype, first=first))
            for pointer, use in zip(pointers[len(values) :], self.uses, strict=True):
                result = apply(
                    lanes,
                    use.op,
                    use.attributes,
                    [values[each] for each in use.operands],
                    [self.dtypes[each] for each in use.operands],
                    use.dtype,
                )
                place = f.offset(pointer, loop.index, IN_MEMORY[use.dtype])
                store_element(lanes, result, place, use.dtype, first=first)
        f.give(0)


def run_uses(
    name: str, uses: Sequence[Use], operands: Sequence[Array], target: Target, lanes: int
) -> list[Array]:
    """Results of each use; the units are cut unevenly. The name tells kernels apart."""
    dtypes = tuple(DType.of(each.dtype) for each in operands)
    kernel = UsesKernel(f"{name}_{lanes}", tuple(uses), dtypes, lanes)
    results = [np.empty(operands[0].shape, use.dtype.numpy) for use in uses]
    buffers = [*map(np.ascontiguousarray, operands), *results]
    slots = tuple(Address(number) for number in range(len(buffers)))
    launch = Launch(kernel, slots, operands[0].size, (), (), 0)
    assert run_launches([launch], buffers, target, (0.1, 0.15, 0.6)) == 0
    return results


def same_bits(found: Array, expected: Array) -> Array:
    """Where two arrays agree: bit for bit, or neither is a number."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    whole = f"u{found.dtype.itemsize}"
    found, expected = (each.copy(order="C") for each in (found, expected))
    same = found.view(whole) == expected.view(whole)
    with np.errstate(invalid="ignore"):
        return same | ((found != found) & (expected != expected))
