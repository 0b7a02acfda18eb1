"""A matrix product as three views' sizes and strides, brought into the shape that runs best."""

from dataclasses import dataclass, replace

from bcai.vm.compiler.plan import OpTask, View


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a product: its size, and what a step along it moves each view, in elements."""

    size: int
    left: int
    right: int
    result: int


@dataclass(frozen=True, slots=True)
class Product:
    """`[batch, rows, depth]` times `[batch, depth, columns]` to `[batch, rows, columns]`.

    An axis has stride 0 in a view that lacks it: rows in the right one, columns in the left one,
    depth in the result.
    """

    left: View
    right: View
    result: View
    batch: tuple[Axis, ...]
    rows: Axis
    columns: Axis
    depth: Axis

    @property
    def multiplications(self) -> int:
        """Multiplications in all."""
        count = self.rows.size * self.columns.size * self.depth.size
        for axis in self.batch:
            count *= axis.size
        return count

    def swapped(self) -> "Product":
        """The transposed product, right times left; its bits are the same: factors commute."""

        def swap(axis: Axis) -> Axis:
            return Axis(axis.size, axis.right, axis.left, axis.result)

        return Product(
            self.right,
            self.left,
            self.result,
            tuple(swap(axis) for axis in self.batch),
            swap(self.columns),
            swap(self.rows),
            swap(self.depth),
        )


def product_of(task: OpTask) -> Product:
    """The product that a `MatMul` is, its batch as small as can be."""
    left, right = task.operands
    assert left is not None
    assert right is not None
    result = task.results[0]
    a, b, c = list(left.strides), list(right.strides), list(result.strides)
    rows, columns = Axis(1, 0, 0, 0), Axis(1, 0, 0, 0)
    depth = left.type.shape[-1]
    if right.type.rank > 1:
        columns = Axis(right.type.shape[-1], 0, b.pop(), c.pop())
    if left.type.rank > 1:
        rows = Axis(left.type.shape[-2], a[-2], 0, c.pop())
    inner = Axis(depth, a[-1], b[-1], 0)
    shape = result.type.shape[: len(c)]
    batch = tuple(
        Axis(
            size,
            _stride(left, at - len(shape), size),
            _stride(right, at - len(shape), size),
            c[at],
        )
        for at, size in enumerate(shape)
        if size != 1
    )
    return _folded(Product(left, right, result, batch, rows, columns, inner))


def _stride(view: View, axis: int, size: int) -> int:
    """Stride along a batch axis, counted from the last batch axis; 0 where it is broadcast."""
    at = view.type.rank - min(view.type.rank, 2) + axis
    return view.strides[at] if at >= 0 and view.type.shape[at] == size else 0


def _folded(product: Product) -> Product:
    """Make batch axes that one operand lacks further rows or columns, where strides allow."""
    for axis in product.batch:
        rest = tuple(each for each in product.batch if each is not axis)
        if not axis.right and (rows := _joined(axis, product.rows)):
            return _folded(replace(product, batch=rest, rows=rows))
        if not axis.left and (columns := _joined(axis, product.columns)):
            return _folded(replace(product, batch=rest, columns=columns))
    return product


def _joined(outer: Axis, inner: Axis) -> Axis | None:
    """Two axes as one, if a step of the outer is as long as all of the inner."""
    if inner.size == 1:
        return outer
    wanted = (inner.size * inner.left, inner.size * inner.right, inner.size * inner.result)
    if wanted != (outer.left, outer.right, outer.result):
        return None
    return replace(inner, size=outer.size * inner.size)
