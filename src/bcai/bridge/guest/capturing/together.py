"""Operations on lists of tensors, one tensor at a time: what optimizers call `foreach`, `fused`."""

from collections.abc import Callable
from typing import Any, cast

import torch

from bcai.bridge.guest.capturing.inside_torch import list_operations

aten: Any = torch.ops.aten
_NUMBERED = {"addcdiv": "value", "addcmul": "value", "addcdiv_": "value", "addcmul_": "value"}


def _names() -> frozenset[str]:
    return frozenset(
        str(getattr(getattr(aten, name), overload))
        for name in list_operations()
        if hasattr(aten, name)
        for overload in getattr(aten, name).overloads()
        if not overload.endswith("out")
    )


def expand(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do it for each tensor; the mode is active."""
    fused = _FUSED.get(str(func))
    if fused is not None:
        return fused(*args, **kwargs)
    name = func._schema.name.removeprefix("aten::_foreach_")
    single = _SINGLE.get(name) or getattr(aten, name)
    count = len(args[0])
    found: list[Any] = []
    for index in range(count):
        taken = [_at(each, index, count) for each in args]
        named = {key: _at(each, index, count) for key, each in kwargs.items()}
        if name in _NUMBERED and len(taken) > 3:
            named[_NUMBERED[name]] = taken.pop()
        found.append(single(*taken, **named))
    return None if name.endswith("_") else found


_SINGLE: dict[str, Callable[..., Any]] = {
    "norm": aten.linalg_vector_norm,
    "maximum": aten.clamp_min,
    "minimum": aten.clamp_max,
    "maximum_": aten.clamp_min_,
    "minimum_": aten.clamp_max_,
}
"""Where the operation on one tensor has another name."""


def _at(value: Any, index: int, count: int) -> Any:
    if not isinstance(value, (list, tuple)):
        return value
    several = cast("list[Any]", value)
    return several[index] if len(several) == count else several


def _adam(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    averages: list[torch.Tensor],
    squares: list[torch.Tensor],
    largest: list[torch.Tensor],
    steps: list[torch.Tensor],
    *,
    decoupled: bool,
    **settings: Any,
) -> None:
    """Source: torch.optim.adam._single_tensor_adam, of which the fused kernel is a copy."""
    from torch.optim.adam import adam

    for each in steps:
        each.sub_(1)  # the kernel was told the step to come, and this function counts itself
    lr = settings["lr"]
    adam(
        parameters, gradients, averages, squares, largest, steps,
        foreach=False, capturable=False, differentiable=False, fused=False,
        grad_scale=None, found_inf=None, has_complex=False, decoupled_weight_decay=decoupled,
        amsgrad=settings["amsgrad"], beta1=settings["beta1"], beta2=settings["beta2"],
        lr=float(lr), weight_decay=settings["weight_decay"], eps=settings["eps"],
        maximize=settings["maximize"],
    )  # fmt: skip


def _sgd(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    momenta: list[torch.Tensor],
    **settings: Any,
) -> None:
    from torch.optim.sgd import sgd

    is_first = settings["is_first_step"] or not momenta
    buffers: list[Any] = [None for _ in parameters] if is_first else list(momenta)
    sgd(
        parameters, gradients, buffers, foreach=False, fused=False,
        weight_decay=settings["weight_decay"], momentum=settings["momentum"],
        lr=float(settings["lr"]), dampening=settings["dampening"],
        nesterov=settings["nesterov"], maximize=settings["maximize"], has_sparse_grad=False,
    )  # fmt: skip
    for kept, made in zip(momenta, buffers, strict=False):
        if made is not None and made is not kept:
            kept.copy_(made)


def _adagrad(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    sums: list[torch.Tensor],
    steps: list[torch.Tensor],
    **settings: Any,
) -> None:
    from torch.optim.adagrad import adagrad

    for each in steps:
        each.sub_(1)  # as above
    adagrad(
        parameters, gradients, sums, steps, foreach=False, fused=False,
        lr=float(settings["lr"]), weight_decay=settings["weight_decay"],
        lr_decay=settings["lr_decay"], eps=settings["eps"], maximize=settings["maximize"],
    )  # fmt: skip


def _decoupled(value: bool) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        _adam(*args, decoupled=value, **kwargs)

    return run


def _unscale(gradients: list[torch.Tensor], found: torch.Tensor, factor: torch.Tensor) -> None:
    """Of a gradient scaler. Source: aten/src/ATen/native/AmpKernels.cpp."""
    for each in gradients:
        found.copy_(found.maximum((~each.isfinite()).any().to(found.dtype)))
        each.mul_(factor.to(each.dtype))


def _rescale(
    scale: torch.Tensor,
    steps: torch.Tensor,
    found: torch.Tensor,
    growth: float,
    backoff: float,
    interval: int,
) -> torch.Tensor:
    """Of a gradient scaler: less after a step that was skipped, more after so many without."""
    is_bad, next_step = found > 0, steps + 1
    grows = ~is_bad & (next_step == interval)
    larger = scale * growth
    grown = torch.where(larger.isfinite(), larger, scale)
    scale.copy_(torch.where(is_bad, scale * backoff, torch.where(grows, grown, scale)))
    steps.copy_(torch.where(is_bad | grows, torch.zeros_like(steps), next_step))
    return scale


_FUSED: dict[str, Callable[..., Any]] = {
    f"aten.{name}.{overload}": _decoupled(name == "_fused_adamw_")
    for name in ("_fused_adam_", "_fused_adamw_")
    for overload in ("default", "tensor_lr")
} | {
    "aten._fused_sgd_.default": _sgd,
    "aten._fused_sgd_.tensor_lr": _sgd,
    "aten._fused_adagrad_.default": _adagrad,
    "aten._fused_adagrad_.tensor_lr": _adagrad,
    "aten._amp_foreach_non_finite_check_and_unscale_.default": _unscale,
    "aten._amp_update_scale_.default": _rescale,
}
EXPANDED = _names() | _FUSED.keys()
