"""A module together with its loss, as one module whose result is the loss."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bcai.base.errors import InputError

Loss = str | Callable[[Any, Any], torch.Tensor]

LOSSES: Mapping[str, Callable[[Any, Any], torch.Tensor]] = MappingProxyType(
    {
        "cross_entropy": functional.cross_entropy,
        "nll": functional.nll_loss,
        "mse": functional.mse_loss,
        "l1": functional.l1_loss,
        "smooth_l1": functional.smooth_l1_loss,
        "huber": functional.huber_loss,
        "bce": functional.binary_cross_entropy,
        "bce_with_logits": functional.binary_cross_entropy_with_logits,
        "kl_div": functional.kl_div,
    }
)
PREFIX = "module."
"""What names of parameters begin with in a module with its loss."""


class ModuleWithLoss(nn.Module):
    """`loss(module(*inputs), target)`; the target is the last input."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module = module
        self.loss = _loss(loss)
        self.train(module.training)

    def forward(self, target: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss of one batch."""
        value: Any = self.loss(self.module(*args, **kwargs), target)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise InputError(f"the loss gave {_describe(value)}, expected one number")
        return value.reshape(())


def _loss(loss: Loss) -> Callable[[Any, Any], torch.Tensor]:
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise InputError(f"no loss {loss!r}; there are {', '.join(LOSSES)}, or pass a function")
    return LOSSES[loss]


def _describe(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
