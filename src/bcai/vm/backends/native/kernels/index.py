"""Reading and writing by index: launches for `Gather`, `AddRows` and their kin.

Note [Places]
    A first launch checks the indices, counts negative ones from the end and writes plain places;
    those that follow only move. Sources that meet are taken in ascending order, because one thread
    does everything that goes to one element. Sums of float16 and bfloat16 are kept in float32 and
    rounded once at the end, as the definition has it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from bcai.vm.backends.native.kernels.index_kernels import (
    COLUMNS,
    GatherElementsKernel,
    PickKernel,
    PlacesKernel,
    PutKernel,
    ScatterElementsKernel,
    total_type,
)
from bcai.vm.backends.native.kernels.strided import (
    GRAIN_BYTES,
    MOVED,
    address,
    contiguous,
    copied,
    joined_axes,
    landed,
    temporary,
)
from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import OpTask, View, row_major
from bcai.vm.isa.rules import broadcast
from bcai.vm.isa.types import DType, TensorType

PLACES_GRAIN = 1 << 15


def gather(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `Gather`."""
    x, indices = _present(task)
    axis = _axis(task, x)
    return _picked(task, scope, x, (indices,), axis)


def index(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `Index`."""
    x, *indices = _present(task)
    return _picked(task, scope, x, _broadcast(indices), 0)


def _picked(
    task: OpTask, scope: Scope, x: View, indices: Sequence[View], axis: int
) -> list[Launch]:
    places = _places(indices, x.type.shape[axis:], scope, task.position)
    x, before = contiguous(x, scope, task.position)
    result, after = landed(task.results[0], scope, task.position)
    shape, size = x.type.shape, x.type.dtype.itemsize
    outer, rows = math.prod(shape[:axis]), math.prod(shape[axis : axis + len(indices)])
    width, count = math.prod(shape[axis + len(indices) :]), places.type.elements
    pick = Launch(
        PickKernel(size, single=width == 1, has_outer=outer != 1),
        (address(x), address(places), address(result), count, rows, width),
        units=outer * count if width else 0,
        reads=(x.buffer, places.buffer),
        writes=(result.buffer,),
        position=task.position,
        grain=max(1, GRAIN_BYTES // max(1, width * size)),
    )
    return [*before, pick, *after]


def add_rows(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `AddRows`."""
    x, indices, rows = _present(task)
    return _put(task, scope, x, rows, (indices,), accumulate=True)


def index_put(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `IndexPut`."""
    x, values, *indices = _present(task)
    indices = _broadcast(indices)
    shape = (*indices[0].type.shape, *x.type.shape[len(indices) :])
    accumulate = bool(task.attributes["accumulate"])
    return _put(task, scope, x, broadcast_view(values, shape), indices, accumulate=accumulate)


def _put(
    task: OpTask,
    scope: Scope,
    x: View,
    rows: View,
    indices: Sequence[View],
    *,
    accumulate: bool,
) -> list[Launch]:
    position, shape = task.position, x.type.shape
    places = _places(indices, shape, scope, position)
    rows, before = contiguous(rows, scope, position)
    total, first, after = _total(x, task.results[0], scope, position, accumulate)
    width, count = math.prod(shape[len(indices) :]), places.type.elements
    dtype = x.type.dtype if accumulate else MOVED[x.type.dtype.itemsize]
    put = Launch(
        PutKernel(dtype, total_type(dtype), accumulate),
        (address(total), address(places), address(rows), count, width),
        units=-(-width // COLUMNS) if x.type.elements else 0,
        reads=(places.buffer, rows.buffer, total.buffer),
        writes=(total.buffer,),
        position=position,
        grain=max(1, GRAIN_BYTES // max(1, count * COLUMNS * dtype.itemsize)),
    )
    return [*before, first, put, *after]


def gather_elements(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `GatherElements`."""
    x, indices = _present(task)
    axis = _axis(task, x)
    places = _places((indices,), x.type.shape[axis:], scope, task.position)
    result, after = landed(task.results[0], scope, task.position)
    shape = indices.type.shape
    steps = [0 if i == axis else step for i, step in enumerate(x.strides)]
    axes = joined_axes(shape, steps, row_major(shape))
    line = axes.pop() if axes else (min(1, indices.type.elements), 0, 1)
    size = x.type.dtype.itemsize
    flat = (each for each_axis in axes for each in each_axis)
    pick = Launch(
        GatherElementsKernel(size, len(axes)),
        (address(x), address(places), address(result), x.strides[axis], *line, *flat),
        units=math.prod(each[0] for each in axes),
        reads=(x.buffer, places.buffer),
        writes=(result.buffer,),
        position=task.position,
        grain=max(1, GRAIN_BYTES // max(1, line[0] * 8)),
    )
    return [pick, *after]


def scatter_elements(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `ScatterElements`."""
    return _scattered(task, scope, accumulate=False)


def scatter_add(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `ScatterAdd`."""
    return _scattered(task, scope, accumulate=True)


def _scattered(task: OpTask, scope: Scope, *, accumulate: bool) -> list[Launch]:
    x, indices, updates = _present(task)
    axis, position = _axis(task, x), task.position
    places = _places((indices,), x.type.shape[axis:], scope, position)
    updates, before = contiguous(updates, scope, position)
    total, first, after = _total(x, task.results[0], scope, position, accumulate)
    steps, sizes = (row_major(each.type.shape) for each in (indices, x)), indices.type.shape
    own, theirs = steps
    others = [i for i in range(x.type.rank) if i != axis]
    axes = joined_axes(
        [sizes[i] for i in others], [own[i] for i in others], [theirs[i] for i in others]
    )
    dtype = x.type.dtype if accumulate else MOVED[x.type.dtype.itemsize]
    line = (sizes[axis], own[axis], theirs[axis])
    flat = (each for each_axis in axes for each in each_axis)
    scatter = Launch(
        ScatterElementsKernel(dtype, total_type(dtype), accumulate, len(axes)),
        (address(total), address(places), address(updates), *line, *flat),
        units=math.prod(each[0] for each in axes),
        reads=(places.buffer, updates.buffer, total.buffer),
        writes=(total.buffer,),
        position=position,
        grain=max(1, GRAIN_BYTES // max(1, sizes[axis] * 8)),
    )
    return [*before, first, scatter, *after]


def _total(
    x: View, result: View, scope: Scope, position: int, accumulate: bool
) -> tuple[View, Launch, list[Launch]]:
    """Where the sums are kept, the launch that fills it with `x`, and those that take it home."""
    dtype = total_type(x.type.dtype)
    if accumulate and dtype is not x.type.dtype:
        total = temporary(x.type.with_dtype(dtype), scope)
        return total, copied(x, total, position), [copied(total, result, position)]
    total, after = landed(result, scope, position)
    return total, copied(x, total, position), after


def _places(indices: Sequence[View], shape: Sequence[int], scope: Scope, position: int) -> View:
    """Places, int64 and contiguous, of indices of one shape into the first axes of `shape`.

    Who asks again for the same ones, as a gradient does, gets those that are there.
    """
    sizes = tuple(shape[: len(indices)])
    type_ = TensorType(DType.int64, indices[0].type.shape)
    plain: list[View] = []
    launches: list[Launch] = []
    for each in indices:
        view, copy = contiguous(each, scope, position)
        launches += copy
        plain.append(view)

    def make(number: int) -> list[Launch]:
        slots = [
            slot
            for view, size, step in zip(plain, sizes, row_major(sizes), strict=True)
            for slot in (address(view), size, step)
        ]
        check = Launch(
            PlacesKernel(tuple(each.type.dtype for each in plain)),
            (Address(number), *slots),
            units=type_.elements,
            reads=tuple(each.buffer for each in plain),
            writes=(number,),
            position=position,
            grain=PLACES_GRAIN,
        )
        return [*launches, check]

    lie = tuple((each.buffer, each.offset, each.type.dtype) for each in plain)
    number = scope.once(("places", lie, sizes, type_.elements), type_.nbytes, make)
    return View(number, type_, row_major(type_.shape))


def broadcast_view(view: View, shape: tuple[int, ...]) -> View:
    """The view broadcast to a shape, as NumPy does."""
    extra = len(shape) - view.type.rank
    steps = tuple(
        0 if size == 1 else step for size, step in zip(view.type.shape, view.strides, strict=True)
    )
    return replace(view, type=view.type.with_shape(*shape), strides=(*(0,) * extra, *steps))


def _broadcast(indices: Sequence[View]) -> list[View]:
    shape = broadcast(*(each.type for each in indices))
    return [broadcast_view(each, shape) for each in indices]


def _present(task: OpTask) -> list[View]:
    return [each for each in task.operands if each is not None]


def _axis(task: OpTask, x: View) -> int:
    axis = task.attributes["axis"]
    assert isinstance(axis, int)
    return axis % x.type.rank
