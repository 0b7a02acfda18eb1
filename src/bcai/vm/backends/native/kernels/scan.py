"""Running folds, sorting, and where the extremes are: launches.

All of them work along one axis of a contiguous tensor; what is not contiguous is copied.
"""

import math
from collections.abc import Sequence

from bcai.vm.backends.native.kernels.random import draw
from bcai.vm.backends.native.kernels.scan_kernels import (
    ExtremeKernel,
    RunningKernel,
    column_blocks,
)
from bcai.vm.backends.native.kernels.sort_kernel import SortKernel, room_for
from bcai.vm.backends.native.kernels.strided import (
    GRAIN_BYTES,
    address,
    contiguous,
    landed,
    temporary,
)
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import OpTask, View
from bcai.vm.isa.ops.random import philox

COUNT_MAX = (1 << 31) - 1
"""Elements along the axis whose places fit the short keys."""


def running(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `CumSum` and `CumProd`."""
    x, before = contiguous(_operand(task), scope, task.position)
    result, after = landed(task.results[0], scope, task.position)
    outer, n, inner = _parts(task, x)
    exclusive, reverse = (bool(task.attributes[each]) for each in ("exclusive", "reverse"))
    kernel = RunningKernel(task.op.name, x.type.dtype, exclusive, reverse, inner == 1)
    launch = Launch(
        kernel,
        (address(x), address(result), n, inner),
        units=outer * column_blocks(inner),
        reads=(x.buffer,),
        writes=(result.buffer,),
        position=task.position,
        grain=_grain(x, n, inner),
    )
    return [*before, launch, *after]


def extreme(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches for `ArgMax` and `ArgMin`."""
    x, before = contiguous(_operand(task), scope, task.position)
    outer, n, inner = _parts(task, x)
    if n > COUNT_MAX:
        return None
    result, after = landed(task.results[0], scope, task.position)
    launch = Launch(
        ExtremeKernel(task.op.name, x.type.dtype, inner == 1),
        (address(x), address(result), n, inner),
        units=outer * column_blocks(inner),
        reads=(x.buffer,),
        writes=(result.buffer,),
        position=task.position,
        grain=_grain(x, n, inner),
    )
    return [*before, launch, *after]


def sort(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches for `Sort` and `TopK`."""
    x, before = contiguous(_operand(task), scope, task.position)
    parts = _parts(task, x)
    if parts[1] > COUNT_MAX:
        return None
    values, after_values = landed(task.results[0], scope, task.position)
    places, after_places = landed(task.results[1], scope, task.position)
    descending = bool(task.attributes["largest" if task.op.name == "TopK" else "descending"])
    kept = _parts(task, values)[1]
    launch = _sorted(x, values, places, parts, kept, descending, task.position)
    return [*before, launch, *after_values, *after_places]


def permutation(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches for `Permutation`: the places of words in order, without the words."""
    places, after = landed(task.results[0], scope, task.position)
    (count,) = places.type.shape
    if count > COUNT_MAX:
        return None
    words = temporary(places.type, scope)
    drawing = {"stream": task.attributes["stream"], "shape": (count,)}
    drawn = draw(OpTask(philox, drawing, task.operands, (words,), task.position), scope)
    assert drawn is not None
    launch = _sorted(words, None, places, (1, count, 1), count, False, task.position)
    return [*drawn, launch, *after]


def _sorted(
    x: View,
    values: View | None,
    places: View,
    parts: tuple[int, int, int],
    kept: int,
    descending: bool,
    position: int,
) -> Launch:
    """The launch that writes the first elements of lines in order, and where they come from."""
    outer, n, inner = parts
    room = room_for(n, kept)
    return Launch(
        SortKernel(x.type.dtype, descending, values is not None),
        (address(x), address(values or places), address(places), n, inner, kept, room),
        units=outer * inner if kept else 0,
        reads=(x.buffer,),
        writes=(places.buffer,) if values is None else (values.buffer, places.buffer),
        position=position,
        grain=max(1, GRAIN_BYTES // (128 * max(1, room))),
        scratch_bytes=2 * 8 * room,
    )


def _operand(task: OpTask) -> View:
    (x,) = task.operands
    assert x is not None
    return x


def _parts(task: OpTask, x: View) -> tuple[int, int, int]:
    axis = task.attributes["axis"]
    assert isinstance(axis, int)
    axis %= x.type.rank
    shape = x.type.shape
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _grain(x: View, n: int, inner: int) -> int:
    return max(1, GRAIN_BYTES // max(1, n * min(inner, 64) * x.type.dtype.itemsize))
