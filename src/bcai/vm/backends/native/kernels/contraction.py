"""Lowering of `MatMul`: which kernel, in which form, shared out how."""

from collections.abc import Sequence

from bcai.vm.backends.native.kernels import contraction_blocks as blocks
from bcai.vm.backends.native.kernels import contraction_skewed as skewed
from bcai.vm.backends.native.kernels import contraction_vector as vectors
from bcai.vm.backends.native.kernels.contraction_cast import (
    cast_launch,
    dense_elements,
    dense_like,
)
from bcai.vm.backends.native.kernels.contraction_product import Axis, Product, product_of
from bcai.vm.backends.native.kernels.contraction_shares import Panels, cut, grain_of
from bcai.vm.backends.native.kernels.microkernel import Tile, widest_tile
from bcai.vm.backends.native.kernels.packing import PackRight
from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.compiler.plan import OpTask, View

THREAD_MULTIPLICATIONS = 250_000
"""Multiplications that are worth a thread of their own: about 5 microseconds."""
THREAD_MULTIPLICATIONS_OF_VECTORS = 200_000
"""The same where each is an element read from memory."""
THREAD_PACKED = 30_000
"""Elements to be packed that are worth a thread."""
SHARED_BYTES_MAX = 1 << 20
"""Right operands up to this size are packed by a launch of their own, for all products that use
them. The panels of a larger one that meets few rows are used at once, while the cache has them."""
PACKING_COST = 0.3
"""Time to pack a panel of columns, in parts of the time of a tile on it."""
DIRECT_PANELS = 4
"""Panels of columns up to which rows are read where they lie: packing them would take longer."""
ALIASING_BYTES = {blocks.APART: 4096, blocks.ADJACENT: 1024}
"""Rows, or steps of k, a multiple of this apart fall into few sets of a first level cache."""


def contract(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches of a `MatMul`."""
    if not task.results[0].type.elements:
        return []
    dtype = task.results[0].type.dtype
    if dtype in NARROW:
        return _narrow(task, scope)
    return [_product(product_of(task), scope, task.position)]


def _narrow(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Widen the operands, contract in float32, round the result."""
    result, position = task.results[0], task.position
    operands: list[View] = []
    for view in task.operands:
        assert view is not None

        def make(number: int, view: View = view) -> Sequence[Launch]:
            return [cast_launch(view, dense_like(view, number), position)]

        key = ("float32", view.buffer, view.offset, view.type, view.strides)
        operands.append(dense_like(view, scope.once(key, dense_elements(view) * 4, make)))
    wide = dense_like(result, scope.temporary(result.type.elements * 4))
    inner = contract(OpTask(task.op, task.attributes, tuple(operands), (wide,), position), scope)
    assert inner is not None
    return [*inner, cast_launch(wide, result, position)]


def _product(product: Product, scope: Scope, position: int) -> Launch:
    columns, rows = product.columns, product.rows
    one_column = columns.size == 1 and rows.size > 1
    if one_column or (rows.size > 1 and columns.result != 1 and rows.result == 1):
        product = product.swapped()
    if product.rows.size == 1 and 1 in (product.columns.right, product.depth.right):
        return _vector(product, scope, position)
    return _blocks(product, scope, position)


def _vector(product: Product, scope: Scope, position: int) -> Launch:
    dtype = product.result.type.dtype
    size, columns, depth = dtype.itemsize, product.columns, product.depth
    lanes = scope.target.lanes(dtype)
    if columns.right == 1:
        group = lanes * vectors.WIDE_VECTORS
        large = columns.size * depth.size * size >= vectors.STRIP_BYTES_MIN
        share = -(-columns.size // group) // scope.threads
        groups = max(1, min(vectors.STRIP_GROUPS, share)) if large else 1
        chains, width = 0, groups * group
    else:
        groups, chains = 0, vectors.chains_of(scope.target, dtype, columns.right * size)
        width = chains * lanes
    matrices, axes = _batch(product, size)
    units = matrices * -(-columns.size // width)
    least = THREAD_MULTIPLICATIONS_OF_VECTORS * units / max(1, product.multiplications)
    if chains and skewed.can_skew(product, scope.target):
        kernel = skewed.ContractSkewed(dtype)
        scratch = skewed.scratch_bytes(scope.target, dtype, depth.size)
    else:
        kernel = vectors.ContractVector(dtype, chains)
        scratch = vectors.scratch_bytes(scope.target)
    return Launch(
        kernel,
        (
            _address(product.left),
            _address(product.right),
            _address(product.result),
            columns.size,
            depth.size,
            depth.left * size,
            columns.right * size,
            depth.right * size,
            columns.result * size if columns.size > 1 else size,
            groups,
            0,
            len(product.batch),
            *axes,
        ),
        units,
        (product.left.buffer, product.right.buffer),
        (product.result.buffer,),
        position,
        grain=grain_of(units, least, scope.threads),
        scratch_bytes=scratch,
    )


def _batch(product: Product, size: int) -> tuple[int, list[int]]:
    """How many matrices there are, and the arguments that say where."""
    matrices = 1
    axes: list[int] = []
    for axis in reversed(product.batch):
        matrices *= axis.size
        axes += [axis.size, axis.left * size, axis.right * size, axis.result * size]
    return matrices, axes


def _blocks(product: Product, scope: Scope, position: int) -> Launch:
    dtype = product.result.type.dtype
    size, tile = dtype.itemsize, widest_tile(scope.target, dtype)
    right_form = _right_form(product, tile, scope)
    right, read = _address(product.right), product.right.buffer
    if right_form == blocks.PACKED_BEFORE:
        read = _packed_right(product, tile, scope, position)
        right = Address(read)
    matrices, axes = _batch(product, size)
    cost = PACKING_COST if right_form == blocks.PACKED_AT_USE else 0.0
    panels = Panels(
        -(-product.rows.size // tile.rows),
        -(-product.columns.size // tile.columns),
        matrices,
        blocks.panels_max(scope.target, dtype),
    )
    useful = product.multiplications // THREAD_MULTIPLICATIONS
    direct, costs = _direct_left(product)
    free_panels = 0 if costs else DIRECT_PANELS
    row_blocks, column_blocks = cut(panels, useful, scope.threads, cost, free_panels)
    direct_panels = max(1, free_panels)
    left_form = direct if panels.columns / column_blocks <= direct_panels else blocks.PACKED_HERE
    packed = -(-panels.rows // row_blocks) if left_form == blocks.PACKED_HERE else 0
    units = matrices * row_blocks * column_blocks
    least = THREAD_MULTIPLICATIONS * units / max(1, product.multiplications)
    return Launch(
        blocks.ContractBlocks(dtype),
        (
            _address(product.left),
            right,
            _address(product.result),
            product.rows.size,
            product.columns.size,
            product.depth.size,
            left_form,
            product.rows.left * size,
            product.depth.left * size,
            right_form,
            product.columns.right * size,
            product.depth.right * size,
            product.rows.result * size,
            product.columns.result * size if product.columns.size > 1 else size,
            row_blocks,
            column_blocks,
            len(product.batch),
            *axes,
        ),
        units,
        (product.left.buffer, read),
        (product.result.buffer,),
        position,
        grain=1 if matrices == 1 else grain_of(units, least, scope.threads),
        scratch_bytes=blocks.scratch_bytes(scope.target, dtype, packed, product.depth.size),
    )


def _address(view: View) -> Address:
    return Address(view.buffer, view.offset * view.type.dtype.itemsize)


def _direct_left(product: Product) -> tuple[int, bool]:
    """In which form rows are read, and whether that costs a unit as much as to pack them.

    It does where they push each other out of a cache; then only a unit of one panel of columns
    reads them where they lie.
    """
    rows, depth, size = product.rows, product.depth, product.left.type.dtype.itemsize
    if depth.left == 1 or rows.size == 1 or depth.size <= 1:
        form, step = blocks.APART, rows.left * size
    elif rows.left == 1:
        form, step = blocks.ADJACENT, depth.left * size
    else:
        return blocks.PACKED_HERE, True
    return form, rows.size > 1 and step % ALIASING_BYTES[form] == 0


def _right_form(product: Product, tile: Tile, scope: Scope) -> int:
    """Read columns where they lie if they are whole vectors and few rows use them."""
    columns, depth, dtype = product.columns, product.depth, product.right.type.dtype
    if not depth.size:
        return blocks.DIRECT
    whole = columns.right == 1 and columns.size % tile.lanes == 0
    if whole and product.rows.size <= 2 * tile.rows:
        return blocks.DIRECT
    if any(axis.right for axis in product.batch):
        return blocks.PACKED_AT_USE
    size = columns.size * depth.size * dtype.itemsize
    once = -(-product.rows.size // tile.rows) <= blocks.panels_max(scope.target, dtype)
    return blocks.PACKED_AT_USE if once and size > SHARED_BYTES_MAX else blocks.PACKED_BEFORE


def _packed_right(product: Product, tile: Tile, scope: Scope, position: int) -> int:
    """Buffer of the packed panels of the right operand, which has no batch."""
    view, columns, depth = product.right, product.columns, product.depth
    size, count = view.type.dtype.itemsize, -(-columns.size // tile.columns)

    def make(number: int) -> Sequence[Launch]:
        return [
            Launch(
                PackRight(view.type.dtype),
                (
                    _address(view),
                    Address(number),
                    depth.size,
                    columns.size,
                    count,
                    tile.columns,
                    0,
                    columns.right * size,
                    depth.right * size,
                ),
                count,
                (view.buffer,),
                (number,),
                position,
                grain=grain_of(count, THREAD_PACKED / (depth.size * tile.columns), scope.threads),
            )
        ]

    key = ("packed panels", view.buffer, view.offset, view.type.dtype, _form(columns), _form(depth))
    return scope.once(key, count * tile.columns * depth.size * size, make)


def _form(axis: Axis) -> tuple[int, int]:
    return axis.size, axis.right
