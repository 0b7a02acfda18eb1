"""Pools and their gradients as launches."""

import math
from collections.abc import Sequence
from typing import cast

from bcai.vm.backends.native.kernels.conv_geometry import Three, three
from bcai.vm.backends.native.kernels.conv_layout import finish, plain_operand, plain_result
from bcai.vm.backends.native.kernels.pool_forward import AvgPool, MaxPool
from bcai.vm.backends.native.kernels.pool_grad import AvgPoolGrad, MaxPoolGrad
from bcai.vm.backends.native.kernels.pool_windows import Windows
from bcai.vm.backends.native.kernels.strided import address
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import OpTask, View

Ints = tuple[int, ...]
GRAIN_ELEMENTS = 4096
"""Results of a unit that are worth a thread, about."""
PLANE_MAX = 1 << 30


def max_pool(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`MaxPool`."""
    given = task.operands[0]
    assert given is not None
    values, places = task.results
    shape = given.type.shape
    if _is_empty(task) or math.prod(shape[2:]) > PLANE_MAX:
        return None
    x = plain_operand(given, scope, task.position)
    windows = _windows(task, shape[2:], values.type.shape[2:])
    kernel = MaxPool(x.type.dtype, windows)
    largest, best = plain_result(values, scope), plain_result(places, scope)
    launch = Launch(
        kernel,
        (address(x), address(largest), address(best)),
        shape[0] * shape[1] * windows.outputs[0],
        (x.buffer,),
        (largest.buffer, best.buffer),
        task.position,
        grain=_grain(math.prod(windows.outputs[1:])),
    )
    after = [
        *finish(largest, values, task.position),
        *finish(best, places, task.position),
    ]
    return [launch, *after]


def max_pool_grad(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`MaxPoolGrad`."""
    if _is_empty(task):
        return None
    d, places = (_plain(each, task, scope) for each in task.operands)
    shape = cast(Ints, task.attributes["input_shape"])
    size, count = math.prod(shape[2:]), math.prod(d.type.shape[2:])
    result = plain_result(task.results[0], scope)
    launch = Launch(
        MaxPoolGrad(d.type.dtype, size, count),
        (address(d), address(places), address(result)),
        shape[0] * shape[1],
        (d.buffer, places.buffer),
        (result.buffer,),
        task.position,
        grain=_grain(size),
    )
    return [launch, *finish(result, task.results[0], task.position)]


def avg_pool(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`AvgPool`."""
    if _is_empty(task):
        return None
    x = _plain(task.operands[0], task, scope)
    shape = x.type.shape
    windows = _windows(task, shape[2:], task.results[0].type.shape[2:])
    kernel = AvgPool(x.type.dtype, windows, bool(task.attributes["count_include_pad"]))
    result = plain_result(task.results[0], scope)
    launch = Launch(
        kernel,
        (address(x), address(result)),
        shape[0] * shape[1] * windows.outputs[0],
        (x.buffer,),
        (result.buffer,),
        task.position,
        grain=_grain(math.prod(windows.outputs[1:])),
    )
    return [launch, *finish(result, task.results[0], task.position)]


def avg_pool_grad(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`AvgPoolGrad`."""
    if _is_empty(task):
        return None
    d = _plain(task.operands[0], task, scope)
    shape = cast(Ints, task.attributes["input_shape"])
    windows = _windows(task, shape[2:], d.type.shape[2:])
    kernel = AvgPoolGrad(d.type.dtype, windows, bool(task.attributes["count_include_pad"]))
    result = plain_result(task.results[0], scope)
    launch = Launch(
        kernel,
        (address(d), address(result)),
        shape[0] * shape[1],
        (d.buffer,),
        (result.buffer,),
        task.position,
        grain=_grain(windows.plane),
        scratch_bytes=kernel.scratch_bytes,
    )
    return [launch, *finish(result, task.results[0], task.position)]


def _windows(task: OpTask, sizes: Ints, outputs: Ints) -> Windows:
    at = task.attributes

    def axes(name: str, fill: int) -> Three:
        return three(cast(Ints, at[name]), fill)

    return Windows(
        sizes=three(sizes, 1),
        kernel=axes("kernel", 1),
        stride=axes("stride", 1),
        before=axes("padding_before", 0),
        after=axes("padding_after", 0),
        dilation=axes("dilation", 1) if "dilation" in at else (1, 1, 1),
        outputs=three(outputs, 1),
    )


def _grain(elements: int) -> int:
    return max(1, GRAIN_ELEMENTS // elements)


def _plain(view: View | None, task: OpTask, scope: Scope) -> View:
    assert view is not None
    return plain_operand(view, scope, task.position)


def _is_empty(task: OpTask) -> bool:
    views = [*task.operands, *task.results]
    return any(view is not None and not view.type.elements for view in views)
