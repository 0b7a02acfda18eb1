"""Data, weights and loops that draw nothing: captured draws are not torch's own numbers."""

from collections.abc import Callable
from typing import Any

import torch as installed
from torch import nn

torch: Any = installed


def data(*sizes: int, pitch: float = 0.31) -> Any:
    count = int(torch.Size(sizes).numel())
    return torch.cos(torch.arange(count, dtype=torch.float32) * pitch).reshape(sizes)


def filled(model: nn.Module) -> Any:
    with torch.no_grad():
        for place, each in enumerate(model.parameters()):
            each.copy_(data(*each.shape, pitch=0.7 + place) * 0.3)
    return model


def trained(model: Any, loss_of: Callable[[], Any], optimizer: Any = None) -> list[Any]:
    """Losses of three steps, and a weight."""
    chosen = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    found: list[Any] = []
    for _ in range(3):
        loss = loss_of()
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        found.append(loss)
    return [*found, next(model.parameters())]


def small() -> Any:
    return filled(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))


def numbers(found: list[Any]) -> list[float]:
    return [
        float(number)
        for each in found
        for number in torch.as_tensor(each).detach().to(torch.float64).reshape(-1).tolist()
    ]
