"""Unmodified training loops, run by torch alone and captured: both must come to the same weights.

The file is a script: what it finds is in `found`. Weights and data come from NumPy, since captured
draws are not torch's own numbers.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Array = np.ndarray[Any, Any]
Case = tuple[nn.Module, Array, Array]


class Words(nn.Module):
    """An embedding, one layer of a transformer, and a mean over the places."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of a class."""
        return self.out(self.layer(self.words(x)).mean(1))


class Series(nn.Module):
    """An LSTM and a linear layer on its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of a class."""
        return self.out(self.cells(x)[0][:, -1])


def given(array: Array) -> torch.Tensor:
    """NumPy's memory as a tensor."""
    return cast("Any", torch).from_numpy(array)


def filled(model: nn.Module, rng: np.random.Generator) -> nn.Module:
    """The model with weights that do not come from torch's generator."""
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(given((rng.standard_normal(each.shape) * 0.2).astype("f")))
    return model


def mlp(rng: np.random.Generator) -> Case:
    layers = nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.GELU(), nn.LayerNorm(16)
    model = nn.Sequential(*layers, nn.ReLU(), nn.Linear(16, 3))
    return filled(model, rng), rng.standard_normal((32, 8)).astype("f"), rng.integers(0, 3, 32)


def cnn(rng: np.random.Generator) -> Case:
    first = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
    second = nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1)
    model = nn.Sequential(*first, *second, nn.Flatten(), nn.Dropout(0.0), nn.Linear(6, 3))
    return filled(model, rng), rng.standard_normal((8, 1, 8, 8)).astype("f"), rng.integers(0, 3, 8)


def words(rng: np.random.Generator) -> Case:
    return filled(Words(), rng), rng.integers(0, 11, (4, 5)), rng.integers(0, 3, 4)


def series(rng: np.random.Generator) -> Case:
    x = rng.standard_normal((4, 5, 4)).astype("f")
    return filled(Series(), rng), x, rng.integers(0, 3, 4)


MODELS = {"mlp": mlp, "cnn": cnn, "words": words, "series": series}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "sgd foreach": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, foreach=True),
    "sgd fused": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adam foreach": lambda p: torch.optim.Adam(p, 0.01, foreach=True),
    "adam fused": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
}
CASES = [("mlp", name) for name in OPTIMIZERS] + [
    ("cnn", "sgd"),
    ("words", "sgd"),
    ("series", "sgd"),
]
STEPS = 4


def trained(model_name: str, optimizer_name: str) -> list[float]:
    """A loop with a clipped gradient and a schedule: the weights, and what was read on the way."""
    model, x, y = MODELS[model_name](np.random.default_rng(1))
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS + 1)
    inputs, target = given(x), given(y)
    read: list[float] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss: Any = functional.cross_entropy(model(inputs), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        read.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = (model(inputs).argmax(1) == target).float().mean()
    read.append(float(right))
    states = [each.detach().numpy().ravel() for each in model.state_dict().values()]
    return [*read, *np.concatenate(states).astype(float).tolist()]


found = {f"{model} with {optimizer}": trained(model, optimizer) for model, optimizer in CASES}
