"""Scalar functions on floats of all kinds: the least that there is to compute."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tests.conformance.vm.golden.image import lay_out
from tests.conformance.vm.golden.machines import run_image, targets_here
from tests.conformance.vm.golden.operands import floats_of_all_kinds, fused_operands, special_floats
from tests.conformance.vm.golden.scalar_kernels import OPERANDS, ScalarKernel

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.target import Target
from bcai.vm.isa import scalar
from bcai.vm.isa.arithmetic import Exact
from bcai.vm.isa.types import Array, DType

ELEMENTS = {DType.float32: 3001, DType.float64: 701}


@dataclass(frozen=True, slots=True)
class ScalarCase:
    """One function of `FUNCTIONS` in one format."""

    function: str
    dtype: DType
    is_long: bool = False

    @property
    def name(self) -> str:
        """Function and format."""
        return f"{self.function}.{self.dtype.name}"

    def operands(self) -> list[Array]:
        """Special values (of two operands every pair), then floats of all kinds."""
        count, special = OPERANDS.get(self.function, 1), special_floats(self.dtype)
        size = ELEMENTS[self.dtype]
        if self.function == "fma":
            return list(fused_operands(self.dtype, size, 7))
        random = [floats_of_all_kinds(self.dtype, size, 7 + each) for each in range(count)]
        grid = np.meshgrid(*[special] * count)
        return [np.concatenate([g.ravel(), r]) for g, r in zip(grid, random, strict=True)]

    def compute(self, target: Target) -> Iterator[tuple[str, Sequence[Array]]]:
        """In one piece and in several; backwards, so that each element has another lane."""
        operands = self.operands()
        yield "whole", (self._run(operands, target, 1),)
        if target in targets_here():
            yield "in pieces", (self._run(operands, target, 5),)
            backwards = self._run([each[::-1] for each in operands], target, 1)
            yield "backwards", (np.ascontiguousarray(backwards[::-1]),)

    def define(self) -> Sequence[Array]:
        """The same text in NumPy."""
        arithmetic, values = Exact(self.dtype), self.operands()
        function = getattr(scalar, self.function, None)
        if function is None:
            return (getattr(arithmetic, self.function)(*values),)
        return (function(arithmetic, *values),)

    def _run(self, operands: Sequence[Array], target: Target, pieces: int) -> Array:
        count, size = len(operands), operands[0].size
        slots = tuple(map(Address, range(count + 1)))
        kernel = ScalarKernel(self.function, self.dtype)
        launch = Launch(kernel, slots, size, tuple(range(count)), (count,), 0)
        contents = [np.ascontiguousarray(each).tobytes() for each in operands]
        image = lay_out([launch], [*map(len, contents), operands[0].nbytes], contents, pieces)
        memory = run_image(image, target)
        for place, content in zip(image.buffers, contents, strict=False):
            assert memory[place : place + len(content)].tobytes() == content, "operands are read"
        start = image.buffers[count]
        return memory[start : start + operands[0].nbytes].view(self.dtype.numpy)
