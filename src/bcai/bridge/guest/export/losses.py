"""Losses."""

from bcai.bridge.guest.export.site import Family, Site
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()
REDUCTIONS = ("none", "mean", "sum")


@rule("cross_entropy_loss")
def _(
    at: Site,
    x: Symbol,
    target: Symbol,
    weight: Symbol | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    smoothing: float = 0.0,
) -> Symbol:
    attributes = {"ignore_index": ignore_index, "label_smoothing": smoothing}
    return at.emit("CrossEntropy", x, target, weight, reduction=REDUCTIONS[reduction], **attributes)


@rule("nll_loss", "nll_loss2d", "nll_loss_nd")
def _(
    at: Site,
    x: Symbol,
    target: Symbol,
    weight: Symbol | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
) -> Symbol:
    return likelihood(at, x, target, weight, reduction, ignore_index)


@rule("nll_loss_forward", "nll_loss2d_forward")
def _(
    at: Site,
    x: Symbol,
    target: Symbol,
    weight: Symbol | None,
    reduction: int,
    ignore_index: int,
) -> list[Symbol | None]:
    if at.reads(1):
        raise UnsupportedError("reading the total weight")
    return [likelihood(at, x, target, weight, reduction, ignore_index), None]


def likelihood(
    at: Site,
    x: Symbol,
    target: Symbol,
    weight: Symbol | None,
    reduction: int,
    ignore_index: int,
) -> Symbol:
    """Negative log-likelihood of classes."""
    if target.dtype is DType.uint8:
        target = target.cast(DType.int64)
    if target.type.elements == 0 and not x.type.elements:
        raise UnsupportedError("a loss of nothing")
    reduced = REDUCTIONS[reduction]
    return at.emit("Nll", x, target, weight, reduction=reduced, ignore_index=ignore_index)


@rule("mse_loss")
def _(at: Site, x: Symbol, target: Symbol, reduction: int = 1) -> Symbol:
    x, target = at.same(x, target)
    return at.emit("Mse", x, target, reduction=REDUCTIONS[reduction])


@rule("l1_loss")
def _(at: Site, x: Symbol, target: Symbol, reduction: int = 1) -> Symbol:
    x, target = at.same(x, target)
    return at.emit("L1", x, target, reduction=REDUCTIONS[reduction])


@rule("smooth_l1_loss")
def _(at: Site, x: Symbol, target: Symbol, reduction: int = 1, beta: float = 1.0) -> Symbol:
    x, target = at.same(x, target)
    return at.emit("SmoothL1", x, target, beta=float(beta), reduction=REDUCTIONS[reduction])


@rule("huber_loss")
def _(at: Site, x: Symbol, target: Symbol, reduction: int = 1, delta: float = 1.0) -> Symbol:
    x, target = at.same(x, target)
    return at.emit("Huber", x, target, delta=float(delta), reduction=REDUCTIONS[reduction])


@rule("kl_div")
def _(
    at: Site, x: Symbol, target: Symbol, reduction: int = 1, *, log_target: bool = False
) -> Symbol:
    x, target = at.same(x, target)
    return at.emit("KlDiv", x, target, log_target=log_target, reduction=REDUCTIONS[reduction])


@rule("binary_cross_entropy")
def _(
    at: Site, x: Symbol, target: Symbol, weight: Symbol | None = None, reduction: int = 1
) -> Symbol:
    return at.emit("Bce", x, target, weight, reduction=REDUCTIONS[reduction])


@rule("binary_cross_entropy_with_logits")
def _(
    at: Site,
    x: Symbol,
    target: Symbol,
    weight: Symbol | None = None,
    pos_weight: Symbol | None = None,
    reduction: int = 1,
) -> Symbol:
    x, target = at.same(x, target)
    if weight is None:
        reduced = REDUCTIONS[reduction]
        return at.emit("BceWithLogits", x, target, pos_weight, reduction=reduced)
    each = at.emit("BceWithLogits", x, target, pos_weight, reduction="none") * weight
    axes = tuple(range(len(each.shape)))
    if reduction == 0:
        return each
    return at.emit("Mean" if reduction == 1 else "Sum", each, axes=axes, keepdims=False)
