"""`ScatterAdd` of one update a row, as element-by-element instructions.

Note [One update a row]
    If the indices have size 1 along the axis and the full size along the others, no element takes
    more than one update: it is `x + update` where the index points and `x` elsewhere, to the bit.
    The gradient of a cross-entropy is such a one; so it needs no pass of its own over all classes.
    An index outside the axis would go unnoticed: it is only done if another instruction reads by
    the same indices from an axis of the same size.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bcai.vm.compiler.affine import Affine, expanded
from bcai.vm.compiler.graph import PLACES, Number, Value
from bcai.vm.compiler.loop_nodes import LoopNodes, Place
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import DType, TensorType

_OPS = ("Less", "Add", "Where", "OneHot")


class ScatterOnce:
    """Knows which indices are checked, and writes scatters by them."""

    def __init__(
        self,
        loops: LoopNodes,
        by_name: Mapping[str, Op],
        elementwise: Callable[[Op, tuple[DType, ...]], bool],
    ) -> None:
        self._loops = loops
        self._ops = {name: by_name[name] for name in _OPS}
        self._elementwise = elementwise
        self._checked: set[tuple[Value, int]] = set()

    def result(
        self, at: Place, op: Op, attributes: Mapping[str, Any], operands: Sequence[Value]
    ) -> Value | None:
        """The result of a `ScatterAdd` of one update a row; None for everything else."""
        if op.name not in ("GatherElements", "ScatterAdd"):
            return None
        x, indices = operands[0], operands[1]
        axis = int(attributes["axis"]) % len(x.map.sizes)
        size = x.map.sizes[axis]
        if op.name == "GatherElements":
            self._checked.add((indices, size))
            return None
        one = (*x.map.sizes[:axis], 1, *x.map.sizes[axis + 1 :])
        known = indices.map.sizes == one and (indices, size) in self._checked
        if not known or not x.map.elements or not self._may(x.source.dtype, indices.source.dtype):
            return None
        return self._written(at, axis, x, indices, operands[2])

    def _may(self, dtype: DType, index: DType) -> bool:
        ops = self._ops
        return (
            self._elementwise(ops["Less"], (index, index, DType.bool))
            and self._elementwise(ops["Add"], (index, index, index))
            and self._elementwise(ops["Where"], (DType.bool, index, index, index))
            and self._elementwise(ops["OneHot"], (index, DType.bool))
            and self._elementwise(ops["Add"], (dtype, dtype, dtype))
            and self._elementwise(ops["Where"], (DType.bool, dtype, dtype, dtype))
        )

    def _written(self, at: Place, axis: int, x: Value, indices: Value, updates: Value) -> Value:
        shape, size = x.map.sizes, x.map.sizes[axis]
        index_type = indices.type

        def apply(name: str, type_: TensorType, *inputs: Value, **attributes: Any) -> Value:
            spread = [Value(each.source, expanded(each.map, type_.shape)) for each in inputs]
            op = self._ops[name]
            return self._loops.apply(at, op, attributes, spread, type_, part=True)

        def number(value: int) -> Value:
            nowhere = Affine(index_type.shape, (0,) * index_type.rank, 0)
            return Value(Number(float(value).hex(), index_type.dtype), nowhere)

        below = apply("Less", index_type.with_dtype(DType.bool), indices, number(0))
        moved = apply("Add", index_type, indices, number(size))
        plain = apply("Where", index_type, below, moved, indices)
        along = tuple(int(each == axis) for each in range(len(shape)))
        hits = TensorType(DType.bool, shape)
        places = Value(PLACES, Affine(shape, along, 0))
        hit = apply("OneHot", hits, plain, places, depth=size, dtype=DType.bool)
        added = apply("Add", x.type, x, updates)
        return apply("Where", x.type, hit, added, x)
