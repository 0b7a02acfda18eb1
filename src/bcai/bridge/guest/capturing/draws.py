"""Rules for draws in the place of a tensor, and with a generator: its number is the key."""

from bcai.bridge.guest.export.random import draw
from bcai.bridge.guest.export.site import Family, Site
from bcai.bridge.guest.export.table import RULES as FORWARD
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()
COMPARED_MAX = 1 << 22
"""Of draws with replacement: each is held against every weight of its row."""
_WAIT_MIN = 2.0**-40
"""No draw of a uniform number but 0 waits as short, so nothing is divided by 0."""


@rule("random.from")
def _(at: Site, x: Symbol, low: int, high: int | None) -> Symbol:
    del x
    if high is None:
        raise UnsupportedError("a range without an end")
    return draw(at, "RandomInt", low=low, high=high).cast(at.out.dtype)


rule("random.to")(FORWARD["aten.randint_like.default"])


@rule("random")
def _(at: Site, x: Symbol) -> Symbol:
    del x
    if at.out.dtype is not DType.int64:
        raise UnsupportedError("a whole number of all that fit")
    upper = draw(at, "RandomInt", low=0, high=1 << 31)
    lower = draw(at, "RandomInt", low=0, high=1 << 31)
    return upper * at.full((), 1 << 31, DType.int64) + lower


@rule("exponential")
def _(at: Site, x: Symbol, rate: float = 1.0) -> Symbol:
    del x
    drawn = draw(at, "Uniform", dtype=at.out.dtype)
    return at.emit("Log", 1.0 - drawn) * (-1.0 / rate)


@rule("multinomial")
def _(at: Site, weights: Symbol, count: int, replacement: bool = False) -> Symbol:
    if not weights.dtype.is_float:
        raise UnsupportedError(f"weights of {weights.dtype.name}")
    x = weights if weights.dtype is DType.float64 else weights.cast(DType.float32)
    if replacement and count > 1:
        return _drawn_again(at, x, count)
    seed, step, stream = at.draws.next()
    uniform = seed.emit("Uniform", step, stream=stream, shape=x.shape, dtype=x.dtype)
    # Of weights over exponential numbers each is the largest with its share, then of the rest.
    waits = at.emit("Max", -at.emit("Log", 1.0 - uniform), _WAIT_MIN)
    return at.all("TopK", x / waits, k=count, axis=len(x.shape) - 1, largest=True)[1]


def _drawn_again(at: Site, x: Symbol, count: int) -> Symbol:
    """With the weights one after the other, each draw falls into the stretch of one of them."""
    if x.type.elements * count > COMPARED_MAX:
        raise UnsupportedError(f"{count} draws, each from {x.type.elements} weights")
    *rows, size = x.shape
    edges = at.emit("CumSum", x, axis=len(rows))
    total = edges.emit("Slice", axis=len(rows), start=size - 1, stop=size, step=1)
    drawn = draw(at, "Uniform", dtype=x.dtype) * total.expand(*rows, count)
    below = edges.reshape(*rows, 1, size) <= drawn.reshape(*rows, count, 1)
    # Rounding may put a draw on the end, which is that of the last weight above zero.
    last = _counted(at, edges < total.expand(*rows, size)).reshape(*rows, 1).expand(*rows, count)
    return at.emit("Min", _counted(at, below), last)


def _counted(at: Site, true: Symbol) -> Symbol:
    return at.emit("Sum", true.cast(DType.int64), axes=(-1,), keepdims=False)


_OVERLOADS = {
    "rand.generator": "rand.default",
    "randn.generator": "randn.default",
    "randperm.generator": "randperm.default",
    "randint.generator": "randint.default",
    "randint.low_generator": "randint.low",
}
"""The generator is no argument of a rule: it gives the key of the draw."""
for _name, _plain in _OVERLOADS.items():
    rule(_name)(FORWARD[f"aten.{_plain}"])
