"""What a loop of the plan means, in NumPy: the definition's own bodies on whole arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tests.unit.vm.backends.native.harness import aligned, run_launches

from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.loops import lower_loop
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import (
    Apply,
    Buffer,
    Fold,
    Literal,
    Load,
    LoopTask,
    Node,
    Place,
    Role,
    View,
    row_major,
)
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import LATEST

OP = LATEST.by_name


def viewed(memory: Array, view: View) -> Array:
    """The elements of a view of a buffer's bytes."""
    dtype = view.type.dtype.numpy
    strides = [each * dtype.itemsize for each in view.strides]
    return np.ndarray(view.type.shape, dtype, memory.data, view.offset * dtype.itemsize, strides)


def evaluate(task: LoopTask, buffers: Sequence[Array]) -> None:
    """Run a loop on buffers of bytes, by the definition."""
    values: list[Array] = []
    for node in task.nodes:
        values.append(_value(task, node, values, buffers))
    for number, view in task.stores:
        viewed(buffers[view.buffer], view)[...] = values[number]


def _value(task: LoopTask, node: Node, values: Sequence[Array], buffers: Sequence[Array]) -> Array:
    match node:
        case Load(view):
            single = not any(view.strides[task.kept :])
            sizes = tuple(
                1 if single and axis >= task.kept else size for axis, size in enumerate(task.shape)
            )
            return viewed(
                buffers[view.buffer], replace(view, type=view.type.with_shape(*sizes))
            ).copy()
        case Literal(value, dtype):
            return np.asarray(value).astype(dtype.numpy)
        case Place(strides, offset):
            grid = np.indices(task.shape, np.int64)
            steps = [each * stride for each, stride in zip(grid, strides, strict=True)]
            return np.asarray(sum(steps, np.int64(offset)))
        case Apply(op, operands, attributes, _):
            return np.asarray(op.body(*(values[each] for each in operands), **attributes))
        case Fold(op, operand, _):
            axes = tuple(range(task.kept, len(task.shape)))
            x = np.broadcast_to(values[operand], task.shape)
            if op.name.startswith("Reduce") and not math.prod(task.shape):
                return np.zeros((*task.shape[: task.kept], *(1 for _ in axes)), x.dtype)
            return np.asarray(op.body(x, axes=axes, keepdims=True))


@dataclass
class Loop:
    """A loop under construction, with the content of its buffers."""

    shape: tuple[int, ...]
    kept: int
    nodes: list[Node] = field(default_factory=list[Node])
    stores: list[tuple[int, View]] = field(default_factory=list[tuple[int, View]])
    buffers: list[Array] = field(default_factory=list[Array])

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def load(self, array: Array, order: Sequence[int] | None = None) -> int:
        """Read an array that broadcasts to the loop; `order`: how its axes lie in memory."""
        whole = (
            array
            if order is None
            else np.transpose(np.ascontiguousarray(np.transpose(array, order)), np.argsort(order))
        )
        memory = aligned(max(64, whole.nbytes))
        flat = np.ndarray(whole.shape, whole.dtype, memory.data, 0, whole.strides)
        flat[...] = whole
        self.buffers.append(memory)
        steps = [
            0 if size == 1 else stride // whole.itemsize
            for size, stride in zip(whole.shape, whole.strides, strict=True)
        ]
        dtype = DType.of(whole.dtype)
        view = View(len(self.buffers) - 1, TensorType(dtype, self.shape), tuple(steps))
        return self.add(Load(view))

    def apply(self, name: str, *operands: int, dtype: DType | None = None, **at: Any) -> int:
        kind = dtype or self.dtype(operands[0])
        return self.add(Apply(OP[name], operands, at, kind))

    def fold(self, name: str, operand: int) -> int:
        return self.add(Fold(OP[name], operand, self.dtype(operand)))

    def dtype(self, number: int) -> DType:
        node = self.nodes[number]
        if isinstance(node, Load):
            return node.view.type.dtype
        return DType.int64 if isinstance(node, Place) else node.dtype

    def store(self, number: int, *, row: bool = False, order: Sequence[int] | None = None) -> None:
        """Write a node for every element, or (`row`) for every kept index."""
        folded = tuple(1 for _ in self.shape[self.kept :])
        shape = (*self.shape[: self.kept], *folded) if row else self.shape
        dtype = self.dtype(number)
        order = list(order) if order is not None else list(range(len(shape)))
        laid = row_major(tuple(shape[each] for each in order))
        strides = [0] * len(shape)
        for place, axis in enumerate(order):
            strides[axis] = laid[place]
        nbytes = math.prod(shape) * dtype.itemsize
        self.buffers.append(aligned(max(64, nbytes + 64)))
        view = View(len(self.buffers) - 1, TensorType(dtype, shape), tuple(strides))
        self.stores.append((number, view))

    def task(self) -> LoopTask:
        return LoopTask(self.shape, self.kept, tuple(self.nodes), tuple(self.stores), 0)


def lowered(loop: Loop, target: Target, threads: int = 1) -> tuple[Sequence[Launch], list[Buffer]]:
    """Launches of a loop, and the buffers that they need."""
    buffers = [Buffer(n, each.nbytes, Role.INPUT) for n, each in enumerate(loop.buffers)]
    scope = Scope(target, threads, buffers)
    return lower_loop(loop.task(), scope), buffers


def results(
    loop: Loop,
    target: Target,
    splits: Sequence[float] = (),
    threads: int = 1,
    pairs: Sequence[tuple[int, int]] = (),
) -> list[Array]:
    """What native code stores, and what else lies in the buffers of the stores.

    `pairs` are buffers that are read and written in the same memory.
    """
    launches, buffers = lowered(loop, target, threads)
    memory = [_placed(each) for each in loop.buffers]
    memory += [aligned(max(64, each.nbytes)) for each in buffers[len(loop.buffers) :]]
    for read, written in pairs:
        shared, content = memory[written], memory[read]
        shared[: content.size] = content
        memory[read] = shared
    assert run_launches(launches, memory, target, splits) == 0
    return [memory[view.buffer] for _, view in loop.stores]


def pairs_in_place(launches: Sequence[Launch]) -> list[tuple[int, int]]:
    """Pairs that may all lie in the same memory: no operand is needed later, none given twice."""
    found: list[tuple[int, int]] = []
    taken = set[int]()
    for place, launch in enumerate(launches):
        later = {each for after in launches[place + 1 :] for each in after.reads}
        for read, written in launch.in_place:
            if not {read, written} & taken and read not in later:
                found.append((read, written))
                taken |= {read, written}
    return found


def _placed(content: Array) -> Array:
    memory = aligned(content.nbytes)
    memory[:] = content
    return memory


def defined(loop: Loop) -> list[Array]:
    """What the definition stores."""
    memory = [_placed(each) for each in loop.buffers]
    evaluate(loop.task(), memory)
    return [memory[view.buffer] for _, view in loop.stores]


def assert_same(loop: Loop, target: Target, splits: Sequence[float] = (), threads: int = 1) -> None:
    """Native code stores the defined bits (any not-a-number is one), and nothing else.

    Also where it may store in the memory of its operands.
    """
    expected = defined(loop)
    compare(loop, results(loop, target, splits, threads), expected)
    if pairs := pairs_in_place(lowered(loop, target, threads)[0]):
        compare(loop, results(loop, target, splits, threads, pairs), expected)


def compare(loop: Loop, got: Sequence[Array], wanted: Sequence[Array]) -> None:
    """What is stored has the wanted bits."""
    for (number, _), found, expected in zip(loop.stores, got, wanted, strict=True):
        dtype = loop.dtype(number)
        a, b = found.view(dtype.numpy), expected.view(dtype.numpy)
        bits = np.dtype(f"u{dtype.itemsize}")
        same = a.view(bits) == b.view(bits)
        if dtype.is_float:
            same |= (a != a) & (b != b)
        assert same.all(), _difference(a, b, same)


def _difference(a: Array, b: Array, same: Array) -> str:
    at = int(np.argmin(same))
    wrong = int((~same).sum())
    return f"{wrong} of {same.size} differ; element {at}: {a[at]!r}, expected {b[at]!r}"
