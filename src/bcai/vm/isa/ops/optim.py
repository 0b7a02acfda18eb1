"""Optimizer steps, gradient clipping and learning-rate schedules, all as values.

A step takes a parameter, its gradient and its state, and gives the next ones; a program hands them
on by naming its outputs as its parameters. Nothing here has a gradient. Hyper-parameters that a
schedule changes are `float32[]` or `float64[]` operands; the others are attributes, rounded once
to the dtype.
"""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Types, case, instruction, types_of
from bcai.vm.isa.rules import same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, DType, TensorType
from bcai.vm.isa.widened import widened

_ROUNDINGS = Bound(ulp=64)
_WIDE = frozenset({DType.float32, DType.float64})


def _alike(p: TensorType, *others: TensorType) -> None:
    for each in others:
        if each != p:
            raise VerifyError(f"found {each}, expected the parameter's type {p}")


def _scalars(*types: TensorType) -> None:
    for each in types:
        if each.shape or each.dtype not in _WIDE:
            raise VerifyError(f"found {each}, expected float32[] or float64[]")


def _sgd(
    p: TensorType,
    g: TensorType,
    m: TensorType,
    lr: TensorType,
    *,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
) -> Types:
    _alike(p, g, m)
    _scalars(lr)
    if nesterov and (momentum <= 0.0 or dampening != 0.0):
        raise VerifyError("nesterov needs a momentum above 0 and no dampening")
    del weight_decay
    return p, m


_SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.01}
_PGM = ("float32[3,2]", "float32[3,2]", "float32[3,2]")


@instruction(
    opcode=0x0900,
    dtypes=FLOATS,
    differentiable=False,
    bound=_ROUNDINGS,
    types=types_of(
        _sgd,
        accepts=(
            case(*_PGM, "float32[]", **_SGD),
            case(*_PGM, "float32[]", **(_SGD | {"nesterov": True})),
            case(*_PGM, "float32[]", **(_SGD | {"momentum": 0.0})),
        ),
        rejects=(
            case("float32[3]", "float32[2]", "float32[3]", "float32[]", **_SGD),
            case(*_PGM, "float32[1]", **_SGD),
            case(*_PGM, "float32[]", **(_SGD | {"nesterov": True, "dampening": 0.5})),
        ),
    ),
)
def sgd_step(
    p: Array,
    g: Array,
    m: Array,
    lr: Array,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Stochastic gradient descent: the next parameter and the next momentum buffer.

    `d = g + weight_decay * p`, `m' = momentum * m + (1 - dampening) * d`, then `p - lr * m'`, or
    `p - lr * (d + momentum * m')` with `nesterov`. Without momentum the buffer stays.
    Source: `torch.optim.SGD` (whose first step takes `m' = d`).
    """
    d = g + weight_decay * p
    if momentum == 0.0:
        return p - lr * d, m
    moved = momentum * m + (1 - dampening) * d
    return p - lr * (d + momentum * moved if nesterov else moved), moved


@sgd_step.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    p, g, m, lr = call[0], call[1], call[2], call[3].cast(call[0].dtype)
    momentum = float(call.attributes["momentum"])
    decay = float(call.attributes["weight_decay"])
    d = p.scalar(decay).emit("Fma", p, g) if decay else g
    if momentum == 0.0:
        return (-lr).emit("Fma", d, p), m
    share = d * (1.0 - float(call.attributes["dampening"]))
    moved = p.scalar(momentum).emit("Fma", m, share if call.attributes["dampening"] else d)
    step = p.scalar(momentum).emit("Fma", moved, d) if call.attributes["nesterov"] else moved
    return (-lr).emit("Fma", step, p), moved


def _adam_powers(b1t: TensorType, b2t: TensorType, *, beta1: float, beta2: float) -> Types:
    _scalars(b1t, b2t)
    del beta1, beta2
    return b1t, b2t


_BETAS = {"beta1": 0.9, "beta2": 0.999}


@instruction(
    opcode=0x0901,
    dtypes=_WIDE,
    differentiable=False,
    bound=Bound(ulp=1),
    types=types_of(
        _adam_powers,
        accepts=(
            case("float32[]", "float32[]", **_BETAS),
            case("float64[]", "float64[]", **_BETAS),
        ),
        rejects=(case("float32[1]", "float32[]", **_BETAS),),
    ),
)
def adam_powers(
    b1t: Array, b2t: Array, *, beta1: float = 0.9, beta2: float = 0.999
) -> tuple[Array, Array]:
    """Running products `beta1^t` and `beta2^t`: state that starts at 1, advanced once a step.

    Early on `1 - beta2^t` is so small that in float32 it keeps about five digits; in float64 the
    first steps are those of `torch.optim.AdamW`.
    """
    return b1t * beta1, b2t * beta2


@adam_powers.lowering
def _(call: Call) -> tuple[Symbol, ...]:
    return call[0] * call.attributes["beta1"], call[1] * call.attributes["beta2"]


def _adam(
    p: TensorType,
    g: TensorType,
    m: TensorType,
    v: TensorType,
    b1t: TensorType,
    b2t: TensorType,
    lr: TensorType,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> Types:
    _alike(p, g, m, v)
    _scalars(b1t, b2t, lr)
    del beta1, beta2, eps, weight_decay, decoupled
    return p, m, v


_ADAM = {**_BETAS, "eps": 1e-8, "weight_decay": 0.01}
_ADAM_TYPES = (*_PGM, "float32[3,2]", "float32[]", "float32[]", "float32[]")


@instruction(
    opcode=0x0902,
    dtypes=FLOATS,
    differentiable=False,
    bound=_ROUNDINGS,
    types=types_of(
        _adam,
        accepts=(
            case(*_ADAM_TYPES, **_ADAM, decoupled=True),
            case(*_ADAM_TYPES, **_ADAM, decoupled=False),
            case(*_ADAM_TYPES[:4], "float64[]", "float64[]", "float64[]", **_ADAM, decoupled=True),
        ),
        rejects=(
            case(*_ADAM_TYPES[:-1], "float32[3]", **_ADAM, decoupled=True),
            case("float32[2]", *_ADAM_TYPES[1:], **_ADAM, decoupled=True),
        ),
    ),
)
def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    b1t: Array,
    b2t: Array,
    lr: Array,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = True,
) -> tuple[Array, Array, Array]:
    """Adam, or AdamW with `decoupled` decay: the next parameter and both moments.

    `b1t` and `b2t` are this step's powers of beta, as `AdamPowers` gives them; a power of 1 (step
    0) is taken as no correction. `m' = beta1 m + (1 - beta1) g`, `v' = beta2 v + (1 - beta2) g^2`,
    `p' = p - lr / (1 - b1t) * m' / (sqrt(v') / sqrt(1 - b2t) + eps)`, after `p - lr * decay * p`.
    Source: arXiv:1412.6980, arXiv:1711.05101, `torch.optim.AdamW`.
    """
    first, second = (np.where(each == 1, 1, 1 - each) for each in (b1t, b2t))
    d = g if decoupled else g + weight_decay * p
    kept = p * (1 - lr * weight_decay) if decoupled else p
    m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d * d
    return kept - lr / first * m / (np.sqrt(v) / np.sqrt(second) + eps), m, v


@adam_step.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    p, g, m, v = call[0], call[1], call[2], call[3]
    lr = call[6].cast(p.dtype)
    first, second = (_correction(call[index], p.dtype) for index in (4, 5))
    beta1, beta2 = float(call.attributes["beta1"]), float(call.attributes["beta2"])
    decay = float(call.attributes["weight_decay"])
    if decay and call.attributes["decoupled"]:
        p = p * (1.0 - lr * decay)
    elif decay:
        g = p.scalar(decay).emit("Fma", p, g)
    m = p.scalar(beta1).emit("Fma", m, g * (1.0 - beta1))
    v = p.scalar(beta2).emit("Fma", v, g * g * (1.0 - beta2))
    root = v.emit("Sqrt") / second.emit("Sqrt") + float(call.attributes["eps"])
    step = lr / first
    return (-step).emit("Fma", m / root, p), m, v


def _correction(power: Symbol, dtype: DType) -> Symbol:
    """`1 - power`, and 1 for a power of 1, so that a first step without `AdamPowers` is finite.

    It is subtracted in the wider of both element types.
    """
    wide = power if power.dtype is DType.float64 else power.cast(dtype)
    one = wide.scalar(1.0)
    return wide.equal(1.0).emit("Where", one, 1.0 - wide).cast(dtype)


def _clip(*grads: TensorType, max_norm: float) -> Types:
    if not grads or not max_norm > 0.0:
        raise VerifyError(f"{len(grads)} gradients and max_norm {max_norm}: expected both above 0")
    same_dtype(*grads)
    return grads


@instruction(
    opcode=0x0903,
    dtypes=FLOATS,
    differentiable=False,
    bound=Bound(ulp=64),
    types=types_of(
        _clip,
        accepts=(
            case("float32[3,2]", "float32[4]", max_norm=1.0),
            case("float32[]", max_norm=100.0),
        ),
        rejects=(
            case("float32[2]", max_norm=0.0),
            case("float32[2]", "float64[2]", max_norm=1.0),
            case(max_norm=1.0),
        ),
    ),
)
def clip_norm(*grads: Array, max_norm: float) -> tuple[Array, ...]:
    """Scale gradients so that their common 2-norm is at most `max_norm`.

    All are multiplied by `min(1, max_norm / (norm + 1e-6))`; the squares are summed per tensor, and
    the tensors' sums in order. Source: `torch.nn.utils.clip_grad_norm_`.
    """
    norm = math.sqrt(sum(float((each * each).sum()) for each in grads))
    return tuple(each * min(1.0, max_norm / (norm + 1e-6)) for each in grads)


@clip_norm.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    grads = [each for each in call.operands if each is not None]
    total = (grads[0] * grads[0]).sum()
    for each in grads[1:]:
        total = total + (each * each).sum()
    factor = float(call.attributes["max_norm"]) / (total.emit("Sqrt") + 1e-6)
    factor = factor.emit("Min", 1.0)
    return tuple(each * factor for each in grads)


OPS = (sgd_step, adam_powers, adam_step, clip_norm)
