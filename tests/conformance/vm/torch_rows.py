"""What an instruction should compute, as torch has it: one row for each call.

An operand is written `4,3` (float64 from -2 to 2), `p:4,3` (0.3 to 2), `u:4,3` (0.1 to 0.9),
`big:3` (1.1 to 2), `i5:4,3` (int64 below 5), `b:4,3` (bool); None is absent.
"""

# torch's functions have no types: it stands here as Any, and so do the tensors of the lambdas.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `ml`")
F = pytest.importorskip("torch.nn.functional", reason="needs the extra `ml`")


@dataclass(frozen=True, slots=True)
class Row:
    """An instruction, its operands and attributes, and torch's function of the same operands."""

    name: str
    operands: tuple[str | None, ...]
    expected: Callable[..., Any]
    attributes: dict[str, Any]


def row(name: str, *operands: str | None, to: Callable[..., Any], **attributes: Any) -> Row:
    return Row(name, operands, to, attributes)


A, B3 = "4,3", "3"
ONE_D = {"stride": (1,), "padding_before": (1,), "padding_after": (1,), "dilation": (1,)}
TWO_D = {"stride": (2, 1), "padding_before": (1, 0), "padding_after": (1, 0), "dilation": (1, 2)}
FLAT_3D = {
    "stride": (1, 1, 1), "padding_before": (0, 0, 0), "padding_after": (0, 0, 0),
    "dilation": (1, 1, 1),
}  # fmt: skip
POOL = {"kernel": (3,), "stride": (2,), "padding_before": (1,), "padding_after": (1,)}
POOL_2D = {
    "kernel": (2, 3), "stride": (1, 2), "padding_before": (1, 1), "padding_after": (1, 1),
}  # fmt: skip

UNARY = {
    "Neg": "neg", "Abs": "abs", "Sign": "sign", "Exp": "exp", "Expm1": "expm1", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh",
    "Asinh": "asinh", "Erf": "erf", "Erfc": "erfc", "Sigmoid": "sigmoid", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Trunc": "trunc", "Relu": "relu", "IsNan": "isnan",
    "IsInf": "isinf",
}  # fmt: skip
POSITIVE = {
    "Log": "log", "Log1p": "log1p", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Reciprocal": "reciprocal",
}  # fmt: skip
UNIT = {"Asin": "asin", "Acos": "acos", "Atanh": "atanh"}
BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Min": "minimum", "Max": "maximum",
    "Mod": "remainder", "Fmod": "fmod", "Equal": "eq", "NotEqual": "ne", "Less": "lt",
    "LessEqual": "le", "Greater": "gt", "GreaterEqual": "ge",
}  # fmt: skip

ELEMENTWISE = (
    *(row(name, A, to=getattr(torch, to)) for name, to in UNARY.items()),
    *(row(name, "p:4,3", to=getattr(torch, to)) for name, to in POSITIVE.items()),
    *(row(name, "u:4,3", to=getattr(torch, to)) for name, to in UNIT.items()),
    row("Acosh", "big:4,3", to=torch.acosh),
    row("Ndtr", A, to=torch.special.ndtr),
    *(row(name, "4,1", "p:3", to=getattr(torch, to)) for name, to in BINARY.items()),
    row("Pow", "p:4,3", B3, to=torch.pow),
    row("Clamp", A, to=lambda x: x.clamp(-0.5, 1.0), min=-0.5, max=1.0),
    row("Fma", A, B3, "", to=lambda a, b, c: a * b + c),
    row("Where", "b:4,3", A, B3, to=torch.where),
    row("And", "b:4,3", "b:3", to=torch.logical_and),
    row("Or", "b:4,3", "b:3", to=torch.logical_or),
    row("Xor", "b:4,3", "b:3", to=torch.logical_xor),
    row("Not", "b:4,3", to=torch.logical_not),
    row("Div", "i9:4,3", "i9:4,3", to=lambda a, b: torch.div(a, b, rounding_mode="trunc")),
    row("Mod", "i9:4,3", "i9:4,3", to=torch.remainder),
)

ACTIVATIONS = (
    row("LeakyRelu", A, to=lambda x: F.leaky_relu(x, 0.2), slope=0.2),
    row("Elu", A, to=lambda x: F.elu(x, 0.7), alpha=0.7),
    row("Selu", A, to=F.selu),
    row("Celu", A, to=lambda x: F.celu(x, 0.5), alpha=0.5),
    row("Gelu", A, to=F.gelu),
    row("Gelu", A, to=lambda x: F.gelu(x, approximate="tanh"), approximate="tanh"),
    row("Silu", A, to=F.silu),
    row("Mish", A, to=F.mish),
    row("Softplus", A, to=lambda x: F.softplus(x, 2.0, 1.5), beta=2.0, threshold=1.5),
    row("Softsign", A, to=F.softsign),
    row("Hardsigmoid", "4,9", to=lambda x: (x / 6 + 0.5).clamp(0, 1)),
    row("Hardswish", "4,9", to=F.hardswish),
    row("Hardtanh", A, to=lambda x: F.hardtanh(x, -0.5, 0.7), min=-0.5, max=0.7),
    row("ThresholdedRelu", A, to=lambda x: F.threshold(x, 0.3, 0.1), threshold=0.3, value=0.1),
    row("PRelu", A, B3, to=F.prelu),
    row("Glu", "4,6", to=lambda x: F.glu(x, 1), axis=1),
    row("Softmax", A, to=lambda x: x.softmax(0), axis=0),
    row("LogSoftmax", "2,4,3", to=lambda x: x.log_softmax(1), axis=-2),
)

REDUCTIONS = (
    row("Sum", "2,4,3", to=lambda x: x.sum((0, 2)), axes=(-1, 0)),
    row("Mean", "2,4,3", to=lambda x: x.mean(1, keepdim=True), axes=(1,), keepdims=True),
    row("ReduceMax", A, to=lambda x: x.amax(0), axes=(0,)),
    row("ReduceMin", A, to=lambda x: x.amin((0, 1)), axes=(0, 1)),
    row("Prod", A, to=lambda x: x.prod(1), axes=(1,)),
    row("ArgMax", A, to=lambda x: x.argmax(1), axis=1),
    row("ArgMin", A, to=lambda x: x.argmin(0, keepdim=True), axis=0, keepdims=True),
    row("CumSum", A, to=lambda x: x.cumsum(0), axis=0),
    row("CumSum", A, to=lambda x: x.flip(1).cumsum(1).flip(1), axis=1, reverse=True),
    row("CumProd", A, to=lambda x: x.cumprod(0), axis=0),
    row("Sort", A, to=lambda x: x.sort(dim=0, stable=True), axis=0),
    row(
        "Sort", A, to=lambda x: x.sort(dim=1, descending=True, stable=True), axis=1, descending=True
    ),
    row("TopK", A, to=lambda x: x.topk(2, 0), k=2, axis=0),
    row("TopK", A, to=lambda x: x.topk(2, 1, largest=False), k=2, axis=1, largest=False),
    row("Variance", A, to=lambda x: x.var(0), axes=(0,), correction=1),
    row(
        "Variance",
        A,
        to=lambda x: x.var((0, 1), correction=0, keepdim=True),
        axes=(0, 1),
        keepdims=True,
    ),
    *(
        row(
            "Norm",
            A,
            to=lambda x, o=order: torch.linalg.vector_norm(x, o, 0),
            axes=(0,),
            order=order,
        )
        for order in (0.0, 1.0, 2.0, 3.0, math.inf, -math.inf)
    ),
    row("LogSumExp", A, to=lambda x: x.logsumexp((0, 1)), axes=(0, 1)),
)

VIEWS = (
    row("Reshape", A, to=lambda x: x.reshape(2, 6), shape=(2, 6)),
    row("Permute", "2,4,3", to=lambda x: x.permute(2, 0, 1), axes=(2, 0, 1)),
    row("Expand", "4,1", to=lambda x: x.expand(2, 4, 3), shape=(2, 4, 3)),
    row("Slice", "2,7", to=lambda x: x[:, 1:6:2], axis=1, start=1, stop=6, step=2),
    row("Select", "2,4,3", to=lambda x: x.select(1, 2), axis=1, index=2),
    row("Squeeze", "2,1,3,1", to=lambda x: x.squeeze((1, 3)), axes=(1, -1)),
    row("Unsqueeze", A, to=lambda x: x[None, :, :, None], axes=(0, 3)),
    row("Concat", A, "2,3", A, to=lambda *xs: torch.cat(xs, 0), axis=0),
    row("Split", "7,3", to=lambda x: x.split((2, 4, 1)), axis=0, sizes=(2, 4, 1)),
    row(
        "Pad",
        A,
        to=lambda x: F.pad(x, (0, 2, 1, 0), value=0.5),
        before=(1, 0),
        after=(0, 2),
        value=0.5,
    ),
    *(
        row(
            "PadMode",
            "2,3,5",
            to=lambda x, m=torch_mode: F.pad(x, (2, 1), mode=m),
            before=(0, 0, 2),
            after=(0, 0, 1),
            mode=mode,
        )
        for mode, torch_mode in (
            ("reflect", "reflect"),
            ("replicate", "replicate"),
            ("circular", "circular"),
        )
    ),
    row("Flip", "2,4,3", to=lambda x: x.flip(0, 2), axes=(0, -1)),
    row("Roll", A, to=lambda x: x.roll(3, 0), axis=0, shift=3),
    row("Roll", A, to=lambda x: x.roll(-1, 1), axis=1, shift=-1),
    row("Tril", "2,4,3", to=lambda x: x.tril(-1), diagonal=-1),
    row("Triu", A, to=lambda x: x.triu(1), diagonal=1),
)

INDEXING = (
    row("Gather", A, "i4:2,2", to=lambda x, i: x[i], axis=0),
    row("Gather", "2,4,3", "i4:5", to=lambda x, i: x.index_select(1, i), axis=1),
    row("Embedding", "5,3", "i5:2,4", to=lambda w, i: F.embedding(i, w)),
    row("AddRows", A, "i4:6", "6,3", to=lambda x, i, r: x.index_add(0, i, r)),
    row("GatherElements", A, "i3:4,2", to=lambda x, i: x.gather(1, i), axis=1),
    row("ScatterAdd", A, "i4:5,2", "5,2", to=lambda x, i, u: x.scatter_add(0, i, u), axis=0),
    row("ScatterElements", A, "i4:1,3", "1,3", to=lambda x, i, u: x.scatter(0, i, u), axis=0),
    row("Index", "3,4,2", "i3:5", "i4:5", to=lambda x, i, j: x[i, j]),
    row("Index", "3,4", "i3:2,1", "i4:3", to=lambda x, i, j: x[i, j]),
    row(
        "IndexPut", A, "6,3", "i4:6", to=lambda x, v, i: x.index_put((i,), v, True), accumulate=True
    ),
    row("OneHot", "i4:2,3", to=lambda i: F.one_hot(i, 5).double(), depth=5, dtype="float64"),
    row("MaskedFill", A, "b:3", to=lambda x, m: x.masked_fill(m, 1.5), value=1.5),
)

CONTRACTIONS = (
    row("MatMul", A, "3,5", to=torch.matmul),
    row("MatMul", "3", "2,3,5", to=torch.matmul),
    row("MatMul", "5,1,2,3", "4,3,2", to=torch.matmul),
    row("MatMul", "2,4,3", "3", to=torch.matmul),
    row("Linear", "2,4,3", "5,3", "5", to=F.linear),
    row("Conv", "2,3,6", "4,3,3", "4", to=lambda x, w, b: F.conv1d(x, w, b, padding=1), **ONE_D),
    row(
        "Conv",
        "2,4,6,7",
        "6,2,3,2",
        None,
        to=lambda x, w: F.conv2d(x, w, None, (2, 1), (1, 0), (1, 2), 2),
        **TWO_D,
        groups=2,
    ),
    row("Conv", "1,2,3,4,3", "2,2,2,2,2", "2", to=F.conv3d, **FLAT_3D),
    row(
        "ConvTranspose",
        "2,4,3",
        "4,3,3",
        "3",
        to=lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1),
        stride=(2,),
        padding=(1,),
        output_padding=(1,),
        dilation=(1,),
    ),
    row(
        "ConvTranspose",
        "1,4,3,2",
        "4,2,2,3",
        None,
        to=lambda x, w: F.conv_transpose2d(x, w, None, (1, 2), (0, 1), (0, 1), 2, (2, 1)),
        stride=(1, 2),
        padding=(0, 1),
        output_padding=(0, 1),
        dilation=(2, 1),
        groups=2,
    ),
    row(
        "MaxPool",
        "2,3,7",
        to=lambda x: F.max_pool1d(x, 3, 2, 1, return_indices=True),
        **POOL,
        dilation=(1,),
    ),
    row(
        "MaxPool",
        "1,2,5,6",
        to=lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1), (1, 1), True, return_indices=True),
        **POOL_2D,
        dilation=(1, 1),
        ceil=True,
    ),
    row("AvgPool", "2,3,7", to=lambda x: F.avg_pool1d(x, 3, 2, 1), **POOL),
    *(
        row(
            "AvgPool",
            "1,2,5,6",
            to=lambda x, c=ceil, p=pad: F.avg_pool2d(x, (2, 3), (1, 2), (1, 1), c, p),
            **POOL_2D,
            ceil=ceil,
            count_include_pad=pad,
        )
        for ceil in (False, True)
        for pad in (False, True)
    ),
    row("AdaptiveAvgPool", "2,3,5,7", to=lambda x: F.adaptive_avg_pool2d(x, (2, 3)), output=(2, 3)),
    row("AdaptiveAvgPool", "2,3,5", to=lambda x: F.adaptive_avg_pool1d(x, 7), output=(7,)),
)

NORMS = (
    row(
        "LayerNorm", "2,4,3", "4,3", "4,3", to=lambda x, w, b: F.layer_norm(x, (4, 3), w, b), axis=1
    ),
    row("RmsNorm", "4,5", "5", to=lambda x, w: F.rms_norm(x, (5,), w, 1e-6), axis=-1),
    row(
        "BatchNorm",
        "4,3,2",
        "3",
        "3",
        "3",
        "p:3",
        to=lambda x, w, b, m, v: F.batch_norm(x, m.detach(), v.detach(), w, b),
    ),
    row(
        "BatchNormTrain",
        "4,3,2",
        "3",
        "3",
        "3",
        "p:3",
        to=lambda x, w, b, m, v: batch_norm_train(x, w, b, m, v),
        momentum=0.2,
    ),
    row("GroupNorm", "2,4,3", "4", "4", to=lambda x, w, b: F.group_norm(x, 2, w, b), groups=2),
    row("GroupNorm", "2,4,3", to=lambda x: F.instance_norm(x), groups=4),
)


def batch_norm_train(x: Any, w: Any, b: Any, mean: Any, variance: Any) -> tuple[Any, ...]:
    new_mean, new_variance = mean.detach().clone(), variance.detach().clone()
    y = F.batch_norm(x, new_mean, new_variance, w, b, training=True, momentum=0.2)
    # torch moves its statistics in place, outside the graph
    axes = (0, 2)
    linked_mean = 0.8 * mean + 0.2 * x.mean(axes)
    linked_variance = 0.8 * variance + 0.2 * x.var(axes)
    torch.testing.assert_close(linked_mean.detach(), new_mean)
    torch.testing.assert_close(linked_variance.detach(), new_variance)
    return y, linked_mean, linked_variance


REDUCED = ("none", "mean", "sum")
LOSSES = (
    *(
        row(
            name, A, A, to=lambda x, y, f=to, r=reduction: f(x, y, reduction=r), reduction=reduction
        )
        for name, to in (("Mse", F.mse_loss), ("L1", F.l1_loss))
        for reduction in REDUCED
    ),
    row("SmoothL1", A, A, to=lambda x, y: F.smooth_l1_loss(x, y, beta=0.7), beta=0.7),
    row("Huber", A, A, to=lambda x, y: F.huber_loss(x, y, delta=0.7), delta=0.7),
    row("Bce", "u:4,3", "u:4,3", to=F.binary_cross_entropy),
    row("BceWithLogits", A, "u:4,3", to=F.binary_cross_entropy_with_logits),
    row(
        "BceWithLogits",
        A,
        "u:4,3",
        "p:3",
        reduction="sum",
        to=lambda x, t, w: F.binary_cross_entropy_with_logits(
            x, t, pos_weight=w.detach(), reduction="sum"
        ),
    ),
    row(
        "KlDiv",
        A,
        "u:4,3",
        to=lambda x, t: F.kl_div(x, t, reduction="batchmean"),
        reduction="batchmean",
    ),
    row(
        "KlDiv",
        A,
        A,
        to=lambda x, t: F.kl_div(x, t, log_target=True, reduction="sum"),
        log_target=True,
        reduction="sum",
    ),
    *(
        row(
            "Nll",
            "4,3,2",
            "i3:4,2",
            "p:3",
            to=lambda x, t, w, r=reduction: F.nll_loss(
                x, t, w.detach(), reduction=r, ignore_index=1
            ),
            reduction=reduction,
            ignore_index=1,
        )
        for reduction in REDUCED
    ),
    *(
        row(
            "CrossEntropy",
            "4,3,2",
            "i3:4,2",
            "p:3",
            to=lambda x, t, w, r=reduction: F.cross_entropy(
                x, t, w.detach(), reduction=r, ignore_index=1, label_smoothing=0.1
            ),
            reduction=reduction,
            ignore_index=1,
            label_smoothing=0.1,
        )
        for reduction in REDUCED
    ),
    *(
        row(
            "CrossEntropy",
            "4,3,2",
            "u:4,3,2",
            "p:3",
            to=lambda x, t, w, r=reduction: F.cross_entropy(
                x, t, w.detach(), reduction=r, label_smoothing=0.2
            ),
            reduction=reduction,
            label_smoothing=0.2,
        )
        for reduction in REDUCED
    ),
    row("CrossEntropy", "5,7", "i7:5", to=F.cross_entropy),
)


def rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotary positions by complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)


def attend(q: Any, k: Any, v: Any, **more: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, **more)


ATTENTION = (
    row("Attention", "2,4,5,3", "2,4,6,3", "2,4,6,2", to=attend),
    row(
        "Attention",
        "2,4,5,3",
        "2,4,5,3",
        "2,4,5,3",
        to=lambda q, k, v: attend(q, k, v, is_causal=True),
        causal=True,
    ),
    row(
        "Attention",
        "2,4,5,3",
        "2,2,6,3",
        "2,2,6,3",
        "5,6",
        scale=0.3,
        to=lambda q, k, v, m: attend(q, k, v, attn_mask=m, scale=0.3, enable_gqa=True),
    ),
    row(
        "Attention",
        "2,5,3",
        "2,5,3",
        "2,5,3",
        "b:5,5",
        to=lambda q, k, v, m: attend(q, k, v, attn_mask=m),
    ),
    row("Rope", "2,3,6", "3,3", "3,3", to=rotate, interleaved=True),
)

ROWS = (
    *ELEMENTWISE,
    *ACTIVATIONS,
    *REDUCTIONS,
    *VIEWS,
    *INDEXING,
    *CONTRACTIONS,
    *NORMS,
    *LOSSES,
    *ATTENTION,
)
