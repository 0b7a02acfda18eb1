"""Reading and writing by index, in ascending order of the source.

An index may be negative, counting from the end; one outside the axis is an InputError when the
program runs. Where several sources go to one place they are taken in ascending row-major order.
"""

import math

import numpy as np

from bcai.base.errors import InputError, VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.elementwise import unbroadcast
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import broadcast, check_axis, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, INDICES, NUMBERS, Array, DType, TensorType


def check_indices(indices: Array, size: int, name: str) -> Array:
    """Return indices as plain places from 0. Raises InputError for one outside."""
    outside = (indices < -size) | (indices >= size)
    if outside.any():
        first = indices[outside].reshape(-1)[0]
        raise InputError(f"{name}: index {first} is outside an axis of size {size}")
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def check_index_type(indices: TensorType) -> None:
    """Indices are int32 or int64. Raises VerifyError."""
    if indices.dtype not in INDICES:
        raise VerifyError(f"indices are {indices}, expected int32 or int64")


def _gather(x: TensorType, indices: TensorType, *, axis: int) -> Types:
    check_index_type(indices)
    plain = check_axis(x, axis)
    return x.with_shape(*x.shape[:plain], *indices.shape, *x.shape[plain + 1 :])


@instruction(
    opcode=0x0400,
    dtypes=ANY,
    types=types_of(
        _gather,
        accepts=(
            case("float32[4,3]", "int64[2,2]", axis=0),
            case("float32[2,5]", "int32[3]", axis=-1),
            case("float32[4]", "int64[]", axis=0),
            case("float32[4,2]", "int64[0]", axis=0),
        ),
        rejects=(
            case("float32[4]", "float32[2]", axis=0),
            case("float32[4]", "int64[2]", axis=1),
            case("float32[]", "int64[]", axis=0),
        ),
    ),
)
def gather(x: Array, indices: Array, *, axis: int) -> Array:
    """Slices of `x` along `axis`, picked by `indices`, whose shape takes the axis's place.

    Source: ONNX Gather-13, NumPy `take`.
    """
    return np.take(x, check_indices(indices, x.shape[axis], "Gather"), axis)


@gather.gradient
def _(call: Call) -> Gradients:
    x, indices = call[0], call[1]
    axis = int(call.attributes["axis"]) % len(x.shape)
    count, rank = len(indices.shape), len(x.shape)
    # Bring the picked axes to the front, add rows to rows, and bring the axis back to its place.
    front = [*range(axis, axis + count), *range(axis), *range(axis + count, rank - 1 + count)]
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    rows = call.d.permute(*front).reshape(indices.type.elements, *rest)
    zeros = call.builder.emit(
        "Full", (), {"shape": (x.shape[axis], *rest), "value": 0.0, "dtype": x.dtype}
    )[0]
    flat = indices.reshape(indices.type.elements)
    added = zeros.emit("AddRows", flat, rows)
    return added.permute(*range(1, axis + 1), 0, *range(axis + 1, rank)), None


def _embedding(weight: TensorType, indices: TensorType) -> Types:
    check_index_type(indices)
    if weight.rank != 2:
        raise VerifyError(f"weight is {weight}, expected two axes [entries, features]")
    return weight.with_shape(*indices.shape, weight.shape[1])


@instruction(
    opcode=0x0401,
    dtypes=ANY,
    types=types_of(
        _embedding,
        accepts=(
            case("float32[5,3]", "int64[2,4]"),
            case("float32[5,3]", "int32[]"),
            case("float32[5,3]", "int64[0]"),
        ),
        rejects=(case("float32[5]", "int64[2]"), case("float32[5,3]", "float32[2]")),
    ),
)
def embedding(weight: Array, indices: Array) -> Array:
    """Rows of `weight` by index: `T[entries, features]`, `int[...]` to `T[..., features]`."""
    return np.take(weight, check_indices(indices, weight.shape[0], "Embedding"), 0)


@embedding.lowering
def _(call: Call) -> Symbol:
    return call[0].emit("Gather", call[1], axis=0)


def _add_rows(x: TensorType, indices: TensorType, rows: TensorType) -> Types:
    check_index_type(indices)
    same_dtype(x, rows)
    if x.rank < 1 or indices.rank != 1 or rows.shape != (*indices.shape, *x.shape[1:]):
        raise VerifyError(f"rows are {rows}, expected {x.with_shape(*indices.shape, *x.shape[1:])}")
    return x


@instruction(
    opcode=0x0402,
    dtypes=NUMBERS,
    types=types_of(
        _add_rows,
        accepts=(
            case("float32[4,3]", "int64[6]", "float32[6,3]"),
            case("float32[4]", "int32[2]", "float32[2]"),
            case("float32[4,2]", "int64[0]", "float32[0,2]"),
        ),
        rejects=(
            case("float32[4,3]", "int64[2]", "float32[2,2]"),
            case("float32[4,3]", "int64[2,1]", "float32[2,1,3]"),
            case("float32[4]", "int64[2]", "float64[2]"),
        ),
    ),
)
def add_rows(x: Array, indices: Array, rows: Array) -> Array:
    """`x` with `rows[i]` added to row `indices[i]`, for i ascending, starting at `x`'s own value.

    The gradient of `Gather` and of embeddings. Each addition is rounded.
    """
    places = check_indices(indices, x.shape[0], "AddRows")
    total, added = widen(x).copy(), widen(rows)
    for source, place in enumerate(places):
        total[place] = total[place] + added[source]
    return total.astype(x.dtype)


@add_rows.gradient
def _(call: Call) -> Gradients:
    return call.d, None, call.d.emit("Gather", call[1], axis=0)


def _elements(x: TensorType, indices: TensorType, *, axis: int) -> Types:
    check_index_type(indices)
    plain = check_axis(x, axis)
    if indices.rank != x.rank or any(
        i != plain and m > n for i, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True))
    ):
        raise VerifyError(f"indices are {indices}, expected the shape of {x} but along axis {axis}")
    return x.with_shape(*indices.shape)


@instruction(
    opcode=0x0403,
    dtypes=ANY,
    types=types_of(
        _elements,
        accepts=(
            case("float32[3,4]", "int64[3,2]", axis=1),
            case("float32[3,4]", "int64[5,2]", axis=0),
            case("float32[3]", "int32[0]", axis=-1),
        ),
        rejects=(
            case("float32[3,4]", "int64[4,2]", axis=1),
            case("float32[3,4]", "int64[3]", axis=1),
            case("float32[3]", "float32[3]", axis=0),
        ),
    ),
)
def gather_elements(x: Array, indices: Array, *, axis: int) -> Array:
    """One element of `x` for each index: `y[i, j] = x[i, indices[i, j]]` with `axis` 1.

    Source: ONNX GatherElements-13, `torch.gather`.
    """
    return x[_places(x, indices, axis, "GatherElements")]


@gather_elements.gradient
def _(call: Call) -> Gradients:
    axis = call.attributes["axis"]
    return call[0].full_like(0.0).emit("ScatterAdd", call[1], call.d, axis=axis), None


def _places(x: Array, indices: Array, axis: int, name: str) -> tuple[Array, ...]:
    """NumPy index that reads or writes along `axis`."""
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = check_indices(indices, x.shape[axis], name)
    return tuple(places)


def _scatter(x: TensorType, indices: TensorType, updates: TensorType, *, axis: int) -> Types:
    _elements(x, indices, axis=axis)
    same_dtype(x, updates)
    if updates.shape != indices.shape:
        raise VerifyError(f"updates are {updates}, expected the shape of the indices, {indices}")
    return x


_SCATTER = types_of(
    _scatter,
    accepts=(
        case("float32[3,4]", "int64[3,6]", "float32[3,6]", axis=1),
        case("float32[3,4]", "int64[2,2]", "float32[2,2]", axis=0),
        case("float32[3]", "int32[0]", "float32[0]", axis=-1),
    ),
    rejects=(
        case("float32[3,4]", "int64[3,2]", "float32[3,1]", axis=1),
        case("float32[3]", "int64[2]", "float64[2]", axis=0),
        case("float32[3]", "float32[2]", "float32[2]", axis=0),
    ),
)


@instruction(opcode=0x0404, dtypes=ANY, types=_SCATTER)
def scatter_elements(x: Array, indices: Array, updates: Array, *, axis: int) -> Array:
    """`x` with `updates` written at `indices` along `axis`; where two meet the last one stays.

    Source: ONNX ScatterElements-18 without reduction, `torch.scatter`.
    """
    result, places = x.copy(), np.broadcast_arrays(*_places(x, indices, axis, "ScatterElements"))
    for source in np.ndindex(indices.shape):
        result[tuple(each[source] for each in places)] = updates[source]
    return result


@scatter_elements.gradient
def _(call: Call) -> Gradients:
    axis, indices, updates = call.attributes["axis"], call[1], call[2]
    kept = call.d.emit("ScatterElements", indices, updates.full_like(0.0), axis=axis)
    # An update counts only where it was the last to be written.
    numbers = _numbers(call, indices.shape)
    stayed = _zeros(call, call[0].shape).emit("ScatterElements", indices, numbers, axis=axis)
    last = stayed.emit("GatherElements", indices, axis=axis).equal(numbers)
    picked = call.d.emit("GatherElements", indices, axis=axis)
    return kept, None, last.emit("Where", picked, picked.full_like(0.0))


@instruction(opcode=0x0405, dtypes=NUMBERS, types=_SCATTER)
def scatter_add(x: Array, indices: Array, updates: Array, *, axis: int) -> Array:
    """`x` with `updates` added at `indices` along `axis`, in ascending order, each rounded.

    Source: ONNX ScatterElements-18 with reduction "add", `torch.scatter_add`.
    """
    total, added = widen(x).copy(), widen(updates)
    places = np.broadcast_arrays(*_places(x, indices, axis, "ScatterAdd"))
    for source in np.ndindex(indices.shape):
        place = tuple(each[source] for each in places)
        total[place] = total[place] + added[source]
    return total.astype(x.dtype)


@scatter_add.gradient
def _(call: Call) -> Gradients:
    axis = call.attributes["axis"]
    return call.d, None, call.d.emit("GatherElements", call[1], axis=axis)


def _index(x: TensorType, *indices: TensorType) -> Types:
    if not 1 <= len(indices) <= x.rank:
        raise VerifyError(f"{len(indices)} indices into {x}")
    for each in indices:
        check_index_type(each)
    return x.with_shape(*broadcast(*indices), *x.shape[len(indices) :])


@instruction(
    opcode=0x0406,
    dtypes=ANY,
    types=types_of(
        _index,
        accepts=(
            case("float32[3,4,2]", "int64[5]", "int64[5]"),
            case("float32[3,4]", "int64[2,1]", "int64[3]"),
            case("float32[3]", "int32[]"),
        ),
        rejects=(
            case("float32[3]"),
            case("float32[3]", "int64[2]", "int64[2]"),
            case("float32[3,3]", "int64[2]", "int64[3]"),
        ),
    ),
)
def index(x: Array, *indices: Array) -> Array:
    """Elements of the leading axes by index tensors that broadcast: `x[i, j]`, as NumPy does."""
    return x[_all_places(x, indices, "Index")]


@index.gradient
def _(call: Call) -> Gradients:
    indices = [each for each in call.operands[1:] if each is not None]
    put = call[0].full_like(0.0).emit("IndexPut", call.d, *indices, accumulate=True)
    return (put, *(None for _ in indices))


def _all_places(x: Array, indices: tuple[Array, ...], name: str) -> tuple[Array, ...]:
    return tuple(
        check_indices(each, size, name) for each, size in zip(indices, x.shape, strict=False)
    )


def _index_put(x: TensorType, values: TensorType, *indices: TensorType, accumulate: bool) -> Types:
    same_dtype(x, values)
    picked = _index(x, *indices)
    if not isinstance(picked, TensorType) or broadcast(values, picked) != picked.shape:
        raise VerifyError(f"values are {values}, expected what broadcasts to {picked}")
    return x


@instruction(
    opcode=0x0407,
    dtypes=NUMBERS,
    types=types_of(
        _index_put,
        accepts=(
            case("float32[3,4]", "float32[6,4]", "int64[6]", accumulate=True),
            case("float32[3,4]", "float32[]", "int64[2]", "int64[2]", accumulate=False),
        ),
        rejects=(
            case("float32[3]", "float32[3]", "int64[2]", accumulate=True),
            case("float32[3]", "float64[2]", "int64[2]", accumulate=True),
        ),
    ),
)
def index_put(x: Array, values: Array, *indices: Array, accumulate: bool = False) -> Array:
    """`x` with `values` written, or added, at the places that `Index` would read, ascending."""
    places = np.broadcast_arrays(*_all_places(x, indices, "IndexPut"))
    shape = (*places[0].shape, *x.shape[len(indices) :])
    total, given = widen(x).copy(), np.broadcast_to(widen(values), shape)
    for source in np.ndindex(places[0].shape):
        place = tuple(each[source] for each in places)
        total[place] = total[place] + given[source] if accumulate else given[source]
    return total.astype(x.dtype)


@index_put.gradient
def _(call: Call) -> Gradients:
    indices = [each for each in call.operands[2:] if each is not None]
    picked = call.builder.emit("Index", (call.d, *indices), {})[0]
    kept = call.d
    if not call.attributes["accumulate"]:
        zero = call[1].scalar(0.0)
        kept = call.d.emit("IndexPut", zero, *indices, accumulate=False)
        count = len(picked.shape) - len(call.d.shape) + len(indices)
        numbers = _numbers(call, picked.shape[:count])
        stayed = _zeros(call, call.d.shape[: len(indices)])
        stayed = stayed.emit("IndexPut", numbers, *indices, accumulate=False)
        last = stayed.emit("Index", *indices).equal(numbers)
        last = last.reshape(*last.shape, *(1 for _ in picked.shape[count:]))
        picked = last.emit("Where", picked, zero)
    return (kept, unbroadcast(picked, call[1]), *(None for _ in indices))


def _numbers(call: Call, shape: tuple[int, ...]) -> Symbol:
    """1, 2, 3, ... in row-major order: tells which source was the last to be written."""
    order = np.arange(1, math.prod(shape) + 1, dtype="<i8")
    constant = {"data": order.tobytes(), "shape": shape, "dtype": DType.int64}
    return call.builder.emit("Const", (), constant)[0]


def _zeros(call: Call, shape: tuple[int, ...]) -> Symbol:
    return call.builder.emit("Full", (), {"shape": shape, "value": 0.0, "dtype": DType.int64})[0]


OPS = (
    gather,
    embedding,
    add_rows,
    gather_elements,
    scatter_elements,
    scatter_add,
    index,
    index_put,
)
