"""Models as users write them."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def digits_mlp() -> nn.Module:
    """Multi-layer perceptron for 8x8 digits."""
    return nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 10)
    )


def digits_cnn() -> nn.Module:
    """Convolutional network for 8x8 digits."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.SiLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(32, 10)),
    )


class Block(nn.Module):
    """Residual block of two convolutions. Source: arXiv:1512.03385."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if stride != 1 or inner != outer
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + kept)


class ResNet18(nn.Module):
    """Eighteen layers; `width` is 64 in the paper. Source: arXiv:1512.03385."""

    def __init__(self, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        inner = width
        for stage in range(4):
            outer = width << stage
            blocks += [Block(inner, outer, 1 if stage == 0 else 2), Block(outer, outer, 1)]
            inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inner, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(functional.relu(self.bn1(self.conv1(x))))
        return self.fc(self.blocks(y).mean((2, 3)))


class SelfAttention(nn.Module):
    """Causal self-attention, written out."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, size = x.shape
        cut = [
            each.view(batch, length, self.heads, size // self.heads).transpose(1, 2)
            for each in self.qkv(x).chunk(3, dim=-1)
        ]
        scores = cut[0] @ cut[1].transpose(-2, -1) / math.sqrt(size // self.heads)
        ahead = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        weights = scores.masked_fill(ahead, float("-inf")).softmax(-1)
        return self.out((weights @ cut[2]).transpose(1, 2).reshape(batch, length, size))


class TransformerLM(nn.Module):
    """Language model: own attention, then torch's own layer; the output is tied to the input."""

    def __init__(self, words: int = 20, size: int = 8, heads: int = 2, p: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.places = nn.Embedding(16, size)
        self.norm = nn.LayerNorm(size)
        self.attention = SelfAttention(size, heads)
        self.layer = nn.TransformerEncoderLayer(
            size, heads, 2 * size, dropout=p, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(size, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        x = self.words(ids) + self.places(torch.arange(length))
        x = x + self.attention(self.norm(x))
        mask = nn.Transformer.generate_square_subsequent_mask(length, dtype=x.dtype)
        y = self.layer(x, src_mask=mask, is_causal=True)
        return self.head(y).transpose(1, 2)


class RecurrentClassifier(nn.Module):
    """Classify a sequence by the last state of an LSTM or GRU."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], *, bidirectional: bool = False) -> None:
        super().__init__()
        self.layers = kind(3, 4, num_layers=2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(8 if bidirectional else 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[0][:, -1])


class CausalLoss(nn.Module):
    """Next-word loss of a Hugging Face model, as `Trainer` computes it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        logits = self.model(input_ids=input_ids, use_cache=False).logits
        loss = functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)
        )
        return {"loss": loss, "logits": logits}


def gpt2() -> nn.Module:
    """GPT-2 from a tiny configuration."""
    import transformers

    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=16,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return CausalLoss(transformers.GPT2LMHeadModel(config))


def llama() -> nn.Module:
    """Llama from a tiny configuration: grouped heads, rotary positions."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=40, max_position_embeddings=32,
    )  # fmt: skip
    return CausalLoss(transformers.LlamaForCausalLM(config))
