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
    single = getattr(aten, name if name != "norm" else "linalg_vector_norm")
    count = len(args[0])
    found: list[Any] = []
    for index in range(count):
        taken = [_at(each, index, count) for each in args]
        named = {key: _at(each, index, count) for key, each in kwargs.items()}
        if name in _NUMBERED and len(taken) > 3:
            named[_NUMBERED[name]] = taken.pop()
        found.append(single(*taken, **named))
    return None if name.endswith("_") else found


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


def _decoupled(value: bool) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        _adam(*args, decoupled=value, **kwargs)

    return run


_FUSED: dict[str, Callable[..., Any]] = {
    f"aten.{name}.{overload}": _decoupled(name == "_fused_adamw_")
    for name in ("_fused_adam_", "_fused_adamw_")
    for overload in ("default", "tensor_lr")
} | {"aten._fused_sgd_.default": _sgd, "aten._fused_sgd_.tensor_lr": _sgd}
EXPANDED = _names() | _FUSED.keys()
