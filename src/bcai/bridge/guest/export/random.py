"""Random numbers: counter-based, from the inputs `seed` and `step`, one stream for each place.

They are as random as torch's but not the same numbers.
"""

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from bcai.bridge.guest.export.site import Family, Site
from bcai.bridge.guest.export.types import Scalar
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()


@rule("native_dropout")
def _(at: Site, x: Symbol, p: float, train: bool | None = True) -> list[Symbol | None]:
    if not train or p == 0.0:
        return [x, at.full(x.shape, True, DType.bool)]
    if p == 1.0:
        return [x * 0.0, at.full(x.shape, False, DType.bool)]
    seed, step, stream = at.draws.next()
    y = at.emit("Dropout", x, seed, step, p=float(p), stream=stream)
    if not at.reads(1):
        return [y, None]
    dropped = seed.emit("Bernoulli", step, stream=stream, shape=x.shape, p=float(p))
    return [y, at.emit("Not", dropped)]


@rule("dropout")
def _(at: Site, x: Symbol, p: float, train: bool) -> Symbol:
    if not train or p == 0.0:
        return x
    seed, step, stream = at.draws.next()
    return at.emit("Dropout", x, seed, step, p=float(p), stream=stream)


def draw(at: Site, name: str, **attributes: Any) -> Symbol:
    """Emit a drawing instruction of the result's shape, on a stream of its own."""
    seed, step, stream = at.draws.next()
    return seed.emit(name, step, stream=stream, shape=at.out.shape, **attributes)


def _uniform(at: Site, low: float = 0.0, high: float = 1.0) -> Symbol:
    drawn = draw(at, "Uniform", dtype=at.out.dtype)
    return drawn if (low, high) == (0.0, 1.0) else drawn * (high - low) + low


def _normal(at: Site, mean: float = 0.0, deviation: float = 1.0) -> Symbol:
    drawn = draw(at, "Normal", dtype=at.out.dtype)
    return drawn if (mean, deviation) == (0.0, 1.0) else drawn * deviation + mean


@rule("rand", "rand_like")
def _(at: Site, *_: object) -> Symbol:
    return _uniform(at)


@rule("randn", "randn_like")
def _(at: Site, *_: object) -> Symbol:
    return _normal(at)


@rule("uniform")
def _(at: Site, x: Symbol, low: float = 0.0, high: float = 1.0) -> Symbol:
    del x
    return _uniform(at, low, high)


@rule("normal_functional")
def _(at: Site, x: Symbol, mean: float = 0.0, deviation: float = 1.0) -> Symbol:
    del x
    return _normal(at, mean, deviation)


@rule("normal.float_float")
def _(at: Site, mean: float, deviation: float, shape: Sequence[int]) -> Symbol:
    del shape
    return _normal(at, mean, deviation)


@rule("normal.Tensor_float", "normal.float_Tensor", "normal.Tensor_Tensor")
def _(at: Site, mean: Symbol | float, deviation: Symbol | float = 1.0) -> Symbol:
    drawn = draw(at, "Normal", dtype=at.out.dtype)
    first, second = at.same(mean, deviation)
    return drawn * second + first


@rule("bernoulli.p")
def _(at: Site, x: Symbol, p: float = 0.5) -> Symbol:
    del x
    return draw(at, "Bernoulli", p=float(p)).cast(at.out.dtype)


@rule("bernoulli")
def _(at: Site, x: Symbol) -> Symbol:
    drawn = draw(at, "Uniform", dtype=x.dtype)
    return (drawn < x).cast(at.out.dtype)


@rule("randint")
def _(at: Site, high: int, shape: Sequence[int]) -> Symbol:
    del shape
    return draw(at, "RandomInt", low=0, high=high).cast(at.out.dtype)


@rule("randint.low")
def _(at: Site, low: int, high: int, shape: Sequence[int]) -> Symbol:
    del shape
    return draw(at, "RandomInt", low=low, high=high).cast(at.out.dtype)


@rule("randint_like")
def _(at: Site, x: Symbol, high: int) -> Symbol:
    del x
    return draw(at, "RandomInt", low=0, high=high).cast(at.out.dtype)


@rule("randperm")
def _(at: Site, count: int) -> Symbol:
    seed, step, stream = at.draws.next()
    return seed.emit("Permutation", step, stream=stream, count=count).cast(at.out.dtype)


_ALWAYS = frozenset(rule.rules) - {"aten.native_dropout.default", "aten.dropout.default"}


def draws_any(node: Node) -> bool:
    """Whether a call takes random numbers."""
    name = str(node.target)
    if name in _ALWAYS:
        return True
    if name in ("aten.native_dropout.default", "aten.dropout.default"):
        return bool(node.args[2]) and _positive(node.args[1])
    if name == "aten.scaled_dot_product_attention.default":
        return _positive(node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0))
    return False


def _positive(p: Any) -> bool:
    given: Scalar = p
    return given > 0
