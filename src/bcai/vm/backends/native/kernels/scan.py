"""Running folds, sorting, and where the extremes are: launches.

All of them work along one axis of a contiguous tensor; what is not contiguous is copied.
"""

import math
from collections.abc import Sequence

from bcai.vm.backends.native.kernels.scan_kernels import (
    ExtremeKernel,
    RunningKernel,
    column_blocks,
)
from bcai.vm.backends.native.kernels.sort_kernel import SortKernel
from bcai.vm.backends.native.kernels.strided import GRAIN_BYTES, address, contiguous, landed
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import OpTask, View

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
    """Launches for `Sort`."""
    x, before = contiguous(_operand(task), scope, task.position)
    outer, n, inner = _parts(task, x)
    if n > COUNT_MAX:
        return None
    values, after_values = landed(task.results[0], scope, task.position)
    places, after_places = landed(task.results[1], scope, task.position)
    kernel = SortKernel(x.type.dtype, bool(task.attributes["descending"]))
    launch = Launch(
        kernel,
        (address(x), address(values), address(places), n, inner),
        units=outer * inner if n else 0,
        reads=(x.buffer,),
        writes=(values.buffer, places.buffer),
        position=task.position,
        grain=max(1, GRAIN_BYTES // (128 * max(1, n))),
        scratch_bytes=kernel.scratch_bytes(n),
    )
    return [*before, launch, *after_values, *after_places]


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
