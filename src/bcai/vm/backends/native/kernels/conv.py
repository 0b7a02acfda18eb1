"""Convolutions and their gradients as launches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from bcai.vm.backends.native.kernels.conv_geometry import Grid, three
from bcai.vm.backends.native.kernels.conv_layout import finish, plain_operand, plain_result
from bcai.vm.backends.native.kernels.conv_pack import ConvPack
from bcai.vm.backends.native.kernels.conv_places import planned
from bcai.vm.backends.native.kernels.conv_plane_weights import ConvPlaneWeights
from bcai.vm.backends.native.kernels.conv_planes import ConvPlanes
from bcai.vm.backends.native.kernels.conv_weights import ConvWeights, choose_shares
from bcai.vm.backends.native.kernels.strided import address
from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import OpTask, View

Ints = tuple[int, ...]
BYTES_MAX = 1 << 30
"""Of one padded image: what the offsets of a register tile can reach."""


GRAIN_STEPS = 1 << 16
"""Multiply-adds that are worth a thread of their own, about."""


def conv(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`Conv`."""
    if _is_empty(task):
        return None
    x, w, b = _operands(task, scope, 3)
    assert x is not None
    assert w is not None
    grid = forward_grid(task, x.type.shape, w.type.shape).flattened()
    groups = cast(int, task.attributes["groups"])
    columns = w.type.shape[0] // groups
    depth = grid.channels * grid.taps
    pack = ConvPack(w.type.dtype, groups, 1, columns, depth, 0, depth)
    return _places(task, scope, x, w, b, grid, groups, columns, pack)


def conv_input_grad(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`ConvInputGrad`."""
    if _is_empty(task):
        return None
    d, w = _operands(task, scope, 2)
    assert d is not None
    assert w is not None
    groups = cast(int, task.attributes["groups"])
    grid = input_grad_grid(task, d.type.shape, w.type.shape, groups).flattened()
    columns = w.type.shape[1]
    pack = ConvPack(
        w.type.dtype, groups, grid.channels, columns, grid.taps, columns * grid.taps, grid.taps
    )
    return _places(task, scope, d, w, None, grid, groups, columns, pack)


def conv_weight_grad(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """`ConvWeightGrad`."""
    if _is_empty(task):
        return None
    d, x = _operands(task, scope, 2)
    assert d is not None
    assert x is not None
    groups = cast(int, task.attributes["groups"])
    weight = cast(Ints, task.attributes["weight_shape"])
    grid = forward_grid(task, x.type.shape, weight).flattened()
    columns = weight[0] // groups
    kernel: ConvPlaneWeights | ConvWeights = ConvPlaneWeights(d.type.dtype, grid, groups)
    if not kernel.suits(scope.target, columns):
        shares = choose_shares(scope.target, d.type.dtype, grid, groups, columns, scope.threads)
        kernel = ConvWeights(d.type.dtype, grid, groups, columns, *shares)
    result = plain_result(task.results[0], scope)
    launch = Launch(
        kernel,
        (address(x), address(d), address(result), x.type.shape[0]),
        kernel.units(scope.target),
        (x.buffer, d.buffer),
        (result.buffer,),
        task.position,
        scratch_bytes=kernel.scratch_bytes(scope.target),
    )
    return [launch, *finish(result, task.results[0], task.position)]


def _places(
    task: OpTask,
    scope: Scope,
    left: View,
    weight: View,
    bias: View | None,
    grid: Grid,
    groups: int,
    columns: int,
    pack: ConvPack,
) -> Sequence[Launch]:
    target, samples = scope.target, left.type.shape[0]
    channel_step = pack.part_pitch if pack.parts > 1 else grid.taps
    planes = ConvPlanes(
        pack.dtype, grid, groups, columns, bias is not None, pack.column_pitch, channel_step
    )
    if planes.suits(target, samples, scope.threads):
        return _planes(task, scope, left, weight, bias, planes)
    kernel = planned(
        target, pack.dtype, grid, groups, columns,
        bias=bias is not None, samples=samples, threads=scope.threads,
    )  # fmt: skip
    pack = replace(pack, checked=kernel.skips)

    def make(number: int) -> Sequence[Launch]:
        arguments = (address(weight), Address(number))
        units = pack.units(target)
        reads, writes = (weight.buffer,), (number,)
        return [Launch(pack, arguments, units, reads, writes, task.position)]

    packed = scope.once((weight, pack), pack.nbytes(target), make)
    result = plain_result(task.results[0], scope)
    extra: tuple[Address | int, ...] = () if bias is None else (address(bias),)
    if kernel.skips:
        extra = (*extra, Address(packed, pack.panel_bytes(target)), pack.units(target))
    biases = () if bias is None else (bias.buffer,)
    launch = Launch(
        kernel,
        (address(left), Address(packed), address(result), *extra),
        kernel.units(target, samples),
        (left.buffer, packed, *biases),
        (result.buffer,),
        task.position,
        scratch_bytes=kernel.scratch_bytes(target),
    )
    return [launch, *finish(result, task.results[0], task.position)]


def _planes(
    task: OpTask, scope: Scope, left: View, weight: View, bias: View | None, kernel: ConvPlanes
) -> Sequence[Launch]:
    result = plain_result(task.results[0], scope)
    given = [left, weight] if bias is None else [left, weight, bias]
    launch = Launch(
        kernel,
        (address(left), address(weight), address(result), *map(address, given[2:])),
        left.type.shape[0] * kernel.groups,
        tuple(each.buffer for each in given),
        (result.buffer,),
        task.position,
        grain=max(1, GRAIN_STEPS // (kernel.grid.places * kernel.columns * kernel.depth)),
        scratch_bytes=kernel.scratch_bytes,
    )
    return [launch, *finish(result, task.results[0], task.position)]


def forward_grid(task: OpTask, x: Ints, w: Ints) -> Grid:
    """Windows of a convolution over its padded input."""
    at = {name: cast(Ints, value) for name, value in task.attributes.items() if name != "groups"}
    before, after = three(at["padding_before"], 0), three(at["padding_after"], 0)
    kernel, source = three(w[2:], 1), three(x[2:], 1)
    dilation, stride = three(at["dilation"], 1), three(at["stride"], 1)
    padded = [s + b + a for s, b, a in zip(source, before, after, strict=True)]
    outputs = [
        (p - d * (k - 1) - 1) // s + 1
        for p, d, k, s in zip(padded, dilation, kernel, stride, strict=True)
    ]
    return Grid(
        channels=w[1],
        source=source,
        spread=(1, 1, 1),
        before=before,
        padded=three(tuple(padded), 1),
        kernel=kernel,
        dilation=dilation,
        stride=stride,
        outputs=three(tuple(outputs), 1),
    )


def input_grad_grid(task: OpTask, d: Ints, w: Ints, groups: int) -> Grid:
    """Windows over a result's gradient, spread by the stride: one for each place of the input."""
    at = {name: cast(Ints, value) for name, value in task.attributes.items() if name != "groups"}
    before, kernel = three(at["padding_before"], 0), three(w[2:], 1)
    dilation, sizes = three(at["dilation"], 1), three(at["input_shape"][2:], 1)
    reach = [a * (k - 1) for a, k in zip(dilation, kernel, strict=True)]
    return Grid(
        channels=w[0] // groups,
        source=three(d[2:], 1),
        spread=three(at["stride"], 1),
        before=three(tuple(r - b for r, b in zip(reach, before, strict=True)), 0),
        padded=three(tuple(s + r for s, r in zip(sizes, reach, strict=True)), 1),
        kernel=kernel,
        dilation=dilation,
        stride=(1, 1, 1),
        outputs=sizes,
        mirrored=True,
    )


def _is_empty(task: OpTask) -> bool:
    views = [*task.operands, *task.results]
    return any(view is not None and not view.type.elements for view in views)


def _operands(task: OpTask, scope: Scope, count: int) -> list[View | None]:
    found = [
        None if view is None else plain_operand(view, scope, task.position)
        for view in task.operands
    ]
    return [*found, *([None] * (count - len(found)))]
