"""Matrix products on a grid: one thread owns one element, and nothing is split along k.

Plain on purpose: memory is read as it lies, without tiles or tensor cores (which round otherwise).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.cuda.grid import start, thread_number
from bcai.vm.backends.cuda.loop import indices
from bcai.vm.backends.native.elementwise import Lanes, load_element, store_element
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY, register_type
from bcai.vm.backends.native.llvm import Function, Module, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import OpTask, View, row_major
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class ProductKernel:
    """`MatMul` of two views; its arguments are the addresses of left, right and result.

    Attributes
    ----------
    sizes
        Axes of the result, row-major: batches, rows, columns.
    left, right, result
        Strides in elements along `sizes`, then along k (of the result there is none).
    depth
        Size of k.
    """

    dtype: DType
    sizes: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]
    depth: int
    library: str | None = None

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        parts = (self.sizes, self.left, self.right, self.result, (self.depth,))
        numbers = "_x_".join("_".join(map(str, each)) for each in parts)
        return f"product_{self.dtype.name}_{numbers}".replace("-", "m")

    @property
    def threads(self) -> int:
        """Threads that have something to do."""
        return math.prod(self.sizes)

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        f = start(self, module, target, 3)
        thread = thread_number(f, target)
        with f.when(f.less(thread, self.threads)):
            place = indices(f, thread, self.sizes)
            a, b, c = (
                self._moved(f, pointer, strides, place)
                for pointer, strides in zip(
                    f.arguments, (self.left, self.right, self.result), strict=True
                )
            )
            lanes = Lanes(f, target, 1)
            first = self._block(lanes, a, b, f.number(0))
            with f.loop(BLOCK, self.depth, BLOCK, [first]) as loop:
                loop.following[0] = self._sum(
                    lanes, loop.carried[0], self._block(lanes, a, b, loop.index)
                )
            store_element(lanes, lanes.rounded(loop.following[0], self.dtype), c, self.dtype)
        f.give()

    def _block(self, lanes: Lanes, a: Value, b: Value, begin: Value) -> Value:
        f = lanes.f
        zero = f.constant(register_type(self.dtype, 1), 0.0)
        end = f.minimum(f.add(begin, BLOCK), self.depth)
        with f.loop(begin, end, carry=[zero]) as loop:
            x, y = (
                load_element(lanes, self._step(f, each, strides[-1], loop.index), self.dtype)
                for each, strides in ((a, self.left), (b, self.right))
            )
            if self.dtype.is_float:
                loop.following[0] = lanes.registers(self.dtype).fma(x, y, loop.carried[0])
            else:
                loop.following[0] = f.b.add(f.b.mul(x, y), loop.carried[0])
        return loop.following[0]

    def _sum(self, lanes: Lanes, a: Value, b: Value) -> Value:
        return lanes.f.b.fadd(a, b) if self.dtype.is_float else lanes.f.b.add(a, b)

    def _moved(
        self, f: Function, pointer: Value, strides: Sequence[int], place: Sequence[Value]
    ) -> Value:
        for stride, index in zip(strides, place, strict=False):
            pointer = self._step(f, pointer, stride, index)
        return pointer

    def _step(self, f: Function, pointer: Value, stride: int, index: Value) -> Value:
        return f.offset(pointer, f.mul(index, stride), IN_MEMORY[self.dtype])


def product_of(task: OpTask) -> ProductKernel:
    """The kernel of a `MatMul`."""
    left, right = task.operands
    (result,) = task.results
    assert left is not None
    assert right is not None
    rows = left.type.shape[-2:-1]
    columns = right.type.shape[-1:] if right.type.rank > 1 else ()
    batch = result.type.shape[: result.type.rank - len(rows) - len(columns)]
    sizes = (*batch, *rows, *columns)
    deep = right.strides[-2] if right.type.rank > 1 else right.strides[-1]
    return ProductKernel(
        result.type.dtype,
        sizes,
        (*_batch(left, batch), *left.strides[-2:-1], *(0 for _ in columns), left.strides[-1]),
        (*_batch(right, batch), *(0 for _ in rows), *right.strides[-1:][: len(columns)], deep),
        result.strides or row_major(sizes),
        left.type.shape[-1],
    )


def _batch(view: View, batch: Sequence[int]) -> tuple[int, ...]:
    """Strides along the batch axes of the result; 0 where the operand broadcasts."""
    axes = list(zip(view.type.shape[:-2], view.strides[:-2], strict=True))
    axes = [(1, 0)] * (len(batch) - len(axes)) + axes
    return tuple(0 if size == 1 else stride for size, stride in axes)
