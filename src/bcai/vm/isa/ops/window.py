"""Parts of tensors, and tensors put together from parts."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.memory import full
from bcai.vm.isa.rules import check_axes, check_axis, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, Array, DType, TensorType


def _slice(x: TensorType, *, axis: int, start: int, stop: int, step: int) -> Types:
    plain = check_axis(x, axis)
    if not 0 <= start <= stop or step < 1 or stop > max(x.shape[plain], start):
        raise VerifyError(
            f"[{start}:{stop}:{step}] of axis {axis} of {x}: expected 0 <= start <= stop <= size "
            "and a step of at least 1"
        )
    size = max(0, -(-(min(stop, x.shape[plain]) - start) // step))
    return x.with_shape(*x.shape[:plain], size, *x.shape[plain + 1 :])


@instruction(
    opcode=0x0310,
    dtypes=ANY,
    name="Slice",
    types=types_of(
        _slice,
        accepts=(
            case("float32[7,3]", axis=0, start=1, stop=6, step=2),
            case("float32[2,5]", axis=-1, start=0, stop=5, step=1),
            case("float32[4]", axis=0, start=2, stop=2, step=1),
            case("float32[0]", axis=0, start=0, stop=0, step=3),
        ),
        rejects=(
            case("float32[4]", axis=0, start=0, stop=5, step=1),
            case("float32[4]", axis=0, start=3, stop=1, step=1),
            case("float32[4]", axis=0, start=0, stop=4, step=0),
            case("float32[4]", axis=1, start=0, stop=4, step=1),
        ),
    ),
)
def slice_(x: Array, *, axis: int, start: int, stop: int, step: int = 1) -> Array:
    """Elements start, start + step, ... below stop of one axis."""
    index = [slice(None)] * x.ndim
    index[axis] = slice(start, stop, step)
    return x[tuple(index)]


@slice_.gradient
def _(call: Call) -> Gradients:
    x, at = call[0], call.attributes
    axis: int = at["axis"] % len(x.shape)
    step: int = at["step"]
    d, taken = call.d, call.d.shape[axis]
    if taken == 0:
        return (x.full_like(0.0),)
    if step > 1:  # spread with zeros between: [n] > [n, step] > [n * step]
        shape = list(d.shape)
        after = [0] * (len(shape) + 1)
        after[axis + 1] = step - 1
        d = pad_zeros(d.reshape(*shape[: axis + 1], 1, *shape[axis + 1 :]), after=after)
        d = d.reshape(*shape[:axis], taken * step, *shape[axis + 1 :])
        end = (taken - 1) * step + 1
        d = d.emit("Slice", axis=axis, start=0, stop=end, step=1)
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    before[axis] = at["start"]
    after[axis] = x.shape[axis] - at["start"] - d.shape[axis]
    return (pad_zeros(d, before=before, after=after),)


def pad_zeros(
    x: Symbol, *, before: list[int] | None = None, after: list[int] | None = None
) -> Symbol:
    """Put zeros around."""
    none = (0,) * len(x.shape)
    first, last = tuple(before or none), tuple(after or none)
    return x if first == none == last else x.emit("Pad", before=first, after=last, value=0.0)


def _select(x: TensorType, *, axis: int, index: int) -> Types:
    plain = check_axis(x, axis)
    if not 0 <= index < x.shape[plain]:
        raise VerifyError(f"index {index} is outside axis {axis} of {x}")
    return x.with_shape(*x.shape[:plain], *x.shape[plain + 1 :])


@instruction(
    opcode=0x0311,
    dtypes=ANY,
    types=types_of(
        _select,
        accepts=(case("float32[2,3]", axis=0, index=1), case("float32[4]", axis=-1, index=0)),
        rejects=(case("float32[2,3]", axis=0, index=2), case("float32[2]", axis=1, index=0)),
    ),
)
def select(x: Array, *, axis: int, index: int) -> Array:
    """One position of an axis, which disappears."""
    return x[(slice(None),) * (axis % x.ndim) + (index,)]


@select.gradient
def _(call: Call) -> Gradients:
    x, at = call[0], call.attributes
    axis = at["axis"] % len(x.shape)
    d = call.d.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    before[axis], after[axis] = at["index"], x.shape[axis] - at["index"] - 1
    return (pad_zeros(d, before=before, after=after),)


def _squeeze(x: TensorType, *, axes: tuple[int, ...]) -> Types:
    plain = check_axes(x, axes)
    if any(x.shape[axis] != 1 for axis in plain):
        raise VerifyError(f"axes {axes} of {x} are not all of size 1")
    return x.with_shape(*(n for axis, n in enumerate(x.shape) if axis not in plain))


@instruction(
    opcode=0x0312,
    dtypes=ANY,
    types=types_of(
        _squeeze,
        accepts=(case("float32[1,3,1]", axes=(0, -1)), case("float32[2]", axes=())),
        rejects=(case("float32[1,3]", axes=(1,)), case("float32[1]", axes=(0, 0))),
    ),
)
def squeeze(x: Array, *, axes: tuple[int, ...]) -> Array:
    """Drop axes of size 1."""
    return np.squeeze(x, axes)


@squeeze.gradient
def _(call: Call) -> Gradients:
    return (call.d.reshape(*call[0].shape),)


def _unsqueeze(x: TensorType, *, axes: tuple[int, ...]) -> Types:
    rank = x.rank + len(axes)
    plain = check_axes(x.with_shape(*(1,) * rank), axes)
    sizes = iter(x.shape)
    return x.with_shape(*(1 if axis in plain else next(sizes) for axis in range(rank)))


@instruction(
    opcode=0x0313,
    dtypes=ANY,
    types=types_of(
        _unsqueeze,
        accepts=(case("float32[2,3]", axes=(0, -1)), case("float32[]", axes=(0,))),
        rejects=(case("float32[2]", axes=(2,)), case("float32[2]", axes=(0, 0))),
    ),
)
def unsqueeze(x: Array, *, axes: tuple[int, ...]) -> Array:
    """Put in axes of size 1 at these places of the result."""
    return np.expand_dims(x, axes)


@unsqueeze.gradient
def _(call: Call) -> Gradients:
    return (call.d.reshape(*call[0].shape),)


def _concat(*parts: TensorType, axis: int) -> Types:
    if not parts:
        raise VerifyError("nothing to concatenate")
    first, plain = parts[0], check_axis(parts[0], axis)
    same_dtype(*parts)
    total = 0
    for part in parts:
        if part.rank != first.rank or any(
            n != m
            for i, (n, m) in enumerate(zip(part.shape, first.shape, strict=True))
            if i != plain
        ):
            raise VerifyError(f"{part} does not fit {first} but along axis {axis}")
        total += part.shape[plain]
    return first.with_shape(*first.shape[:plain], total, *first.shape[plain + 1 :])


@instruction(
    opcode=0x0314,
    dtypes=ANY,
    types=types_of(
        _concat,
        accepts=(
            case("float32[2,3]", "float32[2,1]", axis=1),
            case("float32[2]", axis=0),
            case("float32[0,2]", "float32[3,2]", "float32[1,2]", axis=-2),
        ),
        rejects=(
            case(axis=0),
            case("float32[2,3]", "float32[3,3]", axis=1),
            case("float32[2]", "float64[2]", axis=0),
            case("float32[2]", "float32[2,1]", axis=0),
        ),
    ),
)
def concat(*parts: Array, axis: int) -> Array:
    """Tensors one after the other along an axis."""
    return np.concatenate(parts, axis)


@concat.gradient
def _(call: Call) -> Gradients:
    axis: int = call.attributes["axis"]
    start, given = 0, list[Symbol | None]()
    for part in call.operands:
        size = call[0].shape[axis] if part is None else part.shape[axis]
        piece = call.d.emit("Slice", axis=axis, start=start, stop=start + size, step=1)
        given.append(piece)
        start += size
    return tuple(given)


def _split(x: TensorType, *, axis: int, sizes: tuple[int, ...]) -> Types:
    plain = check_axis(x, axis)
    if not sizes or min(sizes) < 0 or sum(sizes) != x.shape[plain]:
        raise VerifyError(f"sizes {sizes} do not add up to axis {axis} of {x}")
    return tuple(x.with_shape(*x.shape[:plain], n, *x.shape[plain + 1 :]) for n in sizes)


@instruction(
    opcode=0x0315,
    dtypes=ANY,
    types=types_of(
        _split,
        accepts=(
            case("float32[5,2]", axis=0, sizes=(2, 3)),
            case("float32[2,6]", axis=-1, sizes=(1, 0, 5)),
        ),
        rejects=(
            case("float32[5]", axis=0, sizes=(2, 2)),
            case("float32[5]", axis=0, sizes=()),
            case("float32[5]", axis=0, sizes=(6, -1)),
        ),
    ),
)
def split(x: Array, *, axis: int, sizes: tuple[int, ...]) -> tuple[Array, ...]:
    """Cut an axis into consecutive parts."""
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


@split.gradient
def _(call: Call) -> Gradients:
    parts = [call.d_of(index) for index in range(len(call.results))]
    return (call.builder.emit("Concat", parts, {"axis": call.attributes["axis"]})[0],)


def _pad(x: TensorType, *, before: tuple[int, ...], after: tuple[int, ...], value: float) -> Types:
    if len(before) != x.rank or len(after) != x.rank or min((*before, *after), default=0) < 0:
        raise VerifyError(f"padding {before}, {after} of {x}: expected {x.rank} sizes from 0 each")
    return x.with_shape(*(n + b + a for n, b, a in zip(x.shape, before, after, strict=True)))


@instruction(
    opcode=0x0316,
    dtypes=ANY,
    types=types_of(
        _pad,
        accepts=(
            case("float32[2,3]", before=(1, 0), after=(0, 2), value=1.5),
            case("float32[]", before=(), after=(), value=0.0),
            case("float32[0]", before=(2,), after=(1,), value=0.0),
        ),
        rejects=(
            case("float32[2]", before=(-1,), after=(0,), value=0.0),
            case("float32[2]", before=(1, 1), after=(0,), value=0.0),
        ),
    ),
)
def pad(x: Array, *, before: tuple[int, ...], after: tuple[int, ...], value: float = 0.0) -> Array:
    """Put `value`, converted as `Full` does, before and after along every axis."""
    filled = full.body(shape=(), value=value, dtype=DType.of(x.dtype))
    widths = list(zip(before, after, strict=True))
    return np.pad(x, widths, constant_values=filled) if widths else x


@pad.gradient
def _(call: Call) -> Gradients:
    d = call.d
    for axis, (start, size) in enumerate(
        zip(call.attributes["before"], call[0].shape, strict=True)
    ):
        if d.shape[axis] != size:
            d = d.emit("Slice", axis=axis, start=start, stop=start + size, step=1)
    return (d,)


PadModeName = Literal["reflect", "replicate", "circular"]


def _pad_mode(
    x: TensorType, *, before: tuple[int, ...], after: tuple[int, ...], mode: str
) -> Types:
    result = _pad(x, before=before, after=after, value=0.0)
    room = {"reflect": -1, "replicate": None, "circular": 0}[mode]
    for size, first, last in zip(x.shape, before, after, strict=True):
        most = max(first, last)
        if most and (size == 0 or (room is not None and most > size + room)):
            raise VerifyError(f"{mode} padding of {most} does not fit an axis of size {size}")
    return result


@instruction(
    opcode=0x0317,
    dtypes=ANY,
    types=types_of(
        _pad_mode,
        accepts=(
            case("float32[3,4]", before=(1, 2), after=(2, 3), mode="reflect"),
            case("float32[2,1]", before=(1, 2), after=(2, 0), mode="replicate"),
            case("float32[3]", before=(3,), after=(2,), mode="circular"),
        ),
        rejects=(
            case("float32[3]", before=(3,), after=(0,), mode="reflect"),
            case("float32[3]", before=(0,), after=(4,), mode="circular"),
            case("float32[0]", before=(1,), after=(0,), mode="replicate"),
        ),
    ),
)
def pad_mode(
    x: Array, *, before: tuple[int, ...], after: tuple[int, ...], mode: PadModeName
) -> Array:
    """Put copies of `x`'s own elements before and after along every axis.

    `reflect` mirrors without repeating the edge, `replicate` repeats the edge, `circular` goes on
    at the other end. Source: ONNX Pad-19.
    """
    for axis, size in enumerate(x.shape):
        x = np.take(x, _places(size, before[axis], after[axis], mode), axis)
    return x


def _places(size: int, before: int, after: int, mode: str) -> npt.NDArray[np.int64]:
    """Where each element along a padded axis comes from."""
    at = np.arange(-before, size + after)
    if before == after == 0:
        return at
    if mode == "replicate":
        return at.clip(0, size - 1)
    if mode == "circular":
        return at % size
    period = 2 * (size - 1)
    return np.minimum(at % period, period - at % period)


@pad_mode.lowering
def _(call: Call) -> Symbol:
    x, at = call[0], call.attributes
    for axis, size in enumerate(x.shape):
        places = _places(size, at["before"][axis], at["after"][axis], at["mode"])
        if len(places) != size:
            constant = {
                "data": places.astype("<i8").tobytes(),
                "shape": places.shape,
                "dtype": DType.int64,
            }
            x = x.emit("Gather", call.builder.emit("Const", (), constant)[0], axis=axis)
    return x


def _flip(x: TensorType, *, axes: tuple[int, ...]) -> Types:
    check_axes(x, axes)
    return x


@instruction(
    opcode=0x0318,
    dtypes=ANY,
    types=types_of(
        _flip,
        accepts=(case("float32[2,3]", axes=(0, -1)), case("float32[4]", axes=())),
        rejects=(case("float32[2]", axes=(1,)), case("float32[2]", axes=(0, -1))),
    ),
)
def flip(x: Array, *, axes: tuple[int, ...]) -> Array:
    """The other way round along these axes."""
    return np.flip(x, axes)


@flip.gradient
def _(call: Call) -> Gradients:
    return (call.d.emit("Flip", axes=call.attributes["axes"]),)


def _roll(x: TensorType, *, axis: int, shift: int) -> Types:
    check_axis(x, axis)
    return x


@instruction(
    opcode=0x0319,
    dtypes=ANY,
    types=types_of(
        _roll,
        accepts=(
            case("float32[5,2]", axis=0, shift=2),
            case("float32[3]", axis=-1, shift=-7),
            case("float32[0]", axis=0, shift=1),
        ),
        rejects=(case("float32[5]", axis=1, shift=1),),
    ),
)
def roll(x: Array, *, axis: int, shift: int) -> Array:
    """Shifted along an axis; what leaves at one end comes in at the other."""
    return np.roll(x, shift, axis)


@roll.lowering
def _(call: Call) -> Symbol:
    x, axis, shift = call[0], int(call.attributes["axis"]), int(call.attributes["shift"])
    size = x.shape[axis]
    cut = -shift % size if size else 0
    if cut == 0:
        return x.emit("Copy")
    head, tail = call.builder.emit("Split", (x,), {"axis": axis, "sizes": (cut, size - cut)})
    return tail.emit("Concat", head, axis=axis)


OPS = (slice_, select, squeeze, unsqueeze, concat, split, pad, pad_mode, flip, roll)
