"""Runs a plan in NumPy with the instructions' own bodies: what every backend must compute.

Buffers start full of garbage, and every element must be written exactly once.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.compiler.plan import (
    Apply,
    Buffer,
    Fold,
    Literal,
    Load,
    LoopTask,
    OpTask,
    Place,
    Plan,
    Role,
    View,
)
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, DType

GARBAGE = 0xA5


class Memory:
    """The buffers of a plan, and how often each of their bytes was written."""

    def __init__(self, plan: Plan, values: Mapping[str, Array]) -> None:
        self._bytes: list[Array] = []
        self._written: list[Array] = []
        for buffer in plan.buffers:
            content = _content(buffer, values)
            self._bytes.append(content)
            self._written.append(np.zeros(buffer.nbytes, np.uint8))
            if buffer.role in (Role.INPUT, Role.CONSTANT):
                self._written[-1][:] = 1

    def array(self, view: View) -> Array:
        """The view as a NumPy view."""
        return _strided(self._bytes[view.buffer], view, view.type.dtype.itemsize)

    def read(self, view: View) -> Array:
        """The view, which must have been written."""
        if view.type.elements:
            counts = self._counts(view)
            assert (counts == 1).all(), f"{view} is read before it is written"
        return self.array(view)

    def write(self, view: View, value: Array) -> None:
        """Store into a view, which must not have been written."""
        if not view.type.elements:
            return
        assert value.dtype == view.type.dtype.numpy
        counts = self._counts(view)
        assert (counts == 0).all(), f"{view} is written twice"
        for index in np.ndindex(counts.shape[:-1]):
            counts[index] += 1
        assert (counts == 1).all(), f"{view} overlaps itself"
        self.array(view)[...] = value

    def _counts(self, view: View) -> Array:
        size = view.type.dtype.itemsize
        flags = self._written[view.buffer]
        return np.lib.stride_tricks.as_strided(
            flags[view.offset * size :],
            (*view.type.shape, size),
            (*(stride * size for stride in view.strides), 1),
        )


def _content(buffer: Buffer, values: Mapping[str, Array]) -> Array:
    if buffer.role is Role.INPUT:
        given = np.ascontiguousarray(values[buffer.name])
        content = np.frombuffer(given.tobytes(), np.uint8).copy()
    elif buffer.role is Role.CONSTANT:
        content = np.frombuffer(buffer.data, np.uint8).copy()
    else:
        content = np.full(buffer.nbytes, GARBAGE, np.uint8)
    assert content.size == buffer.nbytes
    return content


def _strided(content: Array, view: View, size: int) -> Array:
    if not view.type.elements:
        return np.zeros(view.type.shape, view.type.dtype.numpy)
    reach = [(n - 1) * s for n, s in zip(view.type.shape, view.strides, strict=True)]
    first = view.offset + sum(min(each, 0) for each in reach)
    last = view.offset + sum(max(each, 0) for each in reach)
    assert first >= 0, f"{view} begins before its buffer"
    assert (last + 1) * size <= content.size, f"{view} reaches beyond its buffer"
    typed = content.view(view.type.dtype.numpy)
    return np.lib.stride_tricks.as_strided(
        typed[view.offset :], view.type.shape, tuple(each * size for each in view.strides)
    )


def run_plan(plan: Plan, values: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name, then values that were kept, by `kept 12`."""
    memory = Memory(plan, values)
    for task in plan.tasks:
        with np.errstate(all="ignore"):
            if isinstance(task, LoopTask):
                _loop(memory, task)
            else:
                _operation(memory, task)
    found = {**plan.outputs, **{f"kept {number}": view for number, view in plan.kept.items()}}
    for view in found.values():
        assert view.is_contiguous
        assert plan.buffers[view.buffer].role is not Role.TEMPORARY
    return {name: canonical(memory.read(view)) for name, view in found.items()}


def _operation(memory: Memory, task: OpTask) -> None:
    operands = [None if view is None else memory.read(view) for view in task.operands]
    result = task.op.body(*operands, **task.attributes)
    results = cast("tuple[Array, ...]", result if isinstance(result, tuple) else (result,))
    for view, each in zip(task.results, results, strict=True):
        memory.write(view, np.asarray(each))


def _loop(memory: Memory, task: LoopTask) -> None:
    """Every node on the whole loop; nodes of the kept axes with size 1 along folded ones."""
    folded = range(task.kept, len(task.shape))
    values: list[Array] = []
    kept: list[bool] = []
    assert 0 not in task.shape
    assert folded or not any(isinstance(node, Fold) for node in task.nodes)
    for node in task.nodes:
        match node:
            case Load(view):
                assert view.type.shape == task.shape
                is_kept = all(view.strides[axis] == 0 for axis in folded)
                value = memory.read(view)
            case Literal(number, dtype):
                is_kept = True
                value = np.full(task.shape, number, np.float64).astype(dtype.numpy)
            case Place(strides, offset):
                is_kept = all(strides[axis] == 0 for axis in folded)
                value = _places(task.shape, strides, offset)
            case Apply(op, operands, attributes, dtype):
                is_kept = all(kept[each] for each in operands)
                value = _applied(op, [values[each] for each in operands], attributes)
                assert DType.of(value.dtype) is dtype
            case Fold(op, operand, dtype):
                is_kept = True
                axes = tuple(folded)
                value = np.asarray(op.body(values[operand], axes=axes, keepdims=True))
                value = np.broadcast_to(value, task.shape)
                assert DType.of(value.dtype) is dtype
        values.append(np.asarray(value))
        kept.append(is_kept)
    for number, view in task.stores:
        value = values[number]
        if folded and kept[number]:
            short = (*task.shape[: task.kept], *(1 for _ in folded))
            assert view.type.shape == short
            value = value[(..., *(slice(0, 1) for _ in folded))]
        else:
            assert view.type.shape == task.shape
        memory.write(view, value)


def _places(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Array:
    indices = np.indices(shape, np.int64)
    total = np.full(shape, offset, np.int64)
    for index, stride in zip(indices, strides, strict=True):
        total += index * stride
    return total


def _applied(op: Op, operands: list[Array], attributes: Mapping[str, Any]) -> Array:
    """An instruction on whole arrays; for those that take places, what they mean."""
    if op.name == "Arange":
        return np.asarray(op.body(**attributes))[operands[0]]
    if op.name in ("Philox", "Uniform", "RandomInt"):
        count = int(operands[2].max(initial=0)) + 1
        flat = {**attributes, "shape": (count,)}
        seed, step = (each.reshape(-1)[0] for each in operands[:2])
        return np.asarray(op.body(seed, step, **flat))[operands[2]]
    if op.name == "OneHot":
        hit = operands[0] == operands[1]
        return hit.astype(np.int64).astype(attributes["dtype"].numpy)
    if op.name in ("Tril", "Triu"):
        x, row, column = operands
        below = column - row <= attributes["diagonal"]
        above = column - row >= attributes["diagonal"]
        return np.where(below if op.name == "Tril" else above, x, np.zeros((), x.dtype))
    return np.asarray(op.body(*operands, **attributes))
