"""Learning rates as values: a schedule gives `float32[]` from the step, `int64[]` from 0.

The step is converted to float32, which is exact below 2^24.
"""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Op, TypeRule, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType

_INT64 = frozenset({DType.int64})
_BOUND = Bound(ulp=64)


def _schedule(step: TensorType, **attributes: float) -> Types:
    if step != TensorType(DType.int64):
        raise VerifyError(f"step is {step}, expected int64[]")
    for name in ("steps", "size"):
        if name in attributes and attributes[name] < 1:
            raise VerifyError(f"{name} is {attributes[name]}, expected at least 1")
    if not 0 <= attributes.get("warmup", 0) <= attributes.get("steps", math.inf):
        raise VerifyError(f"warmup is {attributes['warmup']}, expected 0 to the number of steps")
    return TensorType(DType.float32)


def _rule(**attributes: float) -> TypeRule:
    return types_of(
        _schedule,
        accepts=(case("int64[]", **attributes),),
        rejects=(case("int64[1]", **attributes), case("float32[]", **attributes)),
    )


@instruction(
    opcode=0x0910,
    dtypes=_INT64,
    differentiable=False,
    bound=_BOUND,
    types=_rule(base=0.1, minimum=0.01, steps=100, warmup=10),
)
def cosine_schedule(
    step: Array, *, base: float, minimum: float = 0.0, steps: int, warmup: int = 0
) -> Array:
    """From 0 up to `base` over `warmup` steps, then half a cosine down to `minimum` at `steps`.

    Source: arXiv:1608.03983.
    """
    return _warm(step, base, warmup, _cosine(step, base, minimum, steps, warmup))


def _cosine(step: Array, base: float, minimum: float, steps: int, warmup: int) -> float:
    done = min(max((float(step) - warmup) / max(1, steps - warmup), 0.0), 1.0)
    return minimum + (base - minimum) * 0.5 * (1 + math.cos(math.pi * done))


def _warm(step: Array, base: float, warmup: int, later: float) -> Array:
    return np.asarray(base * float(step) / warmup if float(step) < warmup else later, np.float32)


@cosine_schedule.lowering
def _(call: Call) -> Symbol:
    at = call.attributes
    span = float(at["base"]) - float(at["minimum"])
    wave = (_done(call) * math.pi).emit("Cos") + 1.0
    return _warm_symbol(call, wave * (0.5 * span) + float(at["minimum"]))


def _done(call: Call) -> Symbol:
    """Share of the way after the warm-up, 0 to 1."""
    at = call.attributes
    rest = float(max(1, int(at["steps"]) - int(at["warmup"])))
    share = (call[0].cast(DType.float32) - float(at["warmup"])) / rest
    return share.emit("Clamp", min=0.0, max=1.0)


def _warm_symbol(call: Call, later: Symbol) -> Symbol:
    warmup = float(call.attributes["warmup"])
    if not warmup:
        return later
    step = call[0].cast(DType.float32)
    return where(step < warmup, step * float(call.attributes["base"]) / warmup, later)


@instruction(
    opcode=0x0911,
    dtypes=_INT64,
    differentiable=False,
    bound=_BOUND,
    types=_rule(base=0.1, minimum=0.01, steps=100, warmup=10),
)
def linear_schedule(
    step: Array, *, base: float, minimum: float = 0.0, steps: int, warmup: int = 0
) -> Array:
    """From 0 up to `base` over `warmup` steps, then a line down to `minimum` at `steps`."""
    done = min(max((float(step) - warmup) / max(1, steps - warmup), 0.0), 1.0)
    return _warm(step, base, warmup, base + (minimum - base) * done)


@linear_schedule.lowering
def _(call: Call) -> Symbol:
    at = call.attributes
    line = _done(call) * (float(at["minimum"]) - float(at["base"])) + float(at["base"])
    return _warm_symbol(call, line)


@instruction(
    opcode=0x0912,
    dtypes=_INT64,
    differentiable=False,
    bound=_BOUND,
    types=_rule(base=0.1, size=10, gamma=0.5),
)
def step_schedule(step: Array, *, base: float, size: int, gamma: float = 0.1) -> Array:
    """`base * gamma^(step // size)`. Source: `torch.optim.lr_scheduler.StepLR`."""
    return np.asarray(base * gamma ** (int(step) // size), np.float32)


@step_schedule.lowering
def _(call: Call) -> Symbol:
    at = call.attributes
    count = call[0].emit("Div", call[0].scalar(float(at["size"]))).cast(DType.float32)
    return count.scalar(float(at["gamma"])).emit("Pow", count) * float(at["base"])


@instruction(
    opcode=0x0913,
    dtypes=_INT64,
    differentiable=False,
    bound=_BOUND,
    types=_rule(base=0.1, gamma=0.999),
)
def exponential_schedule(step: Array, *, base: float, gamma: float) -> Array:
    """`base * gamma^step`. Source: `torch.optim.lr_scheduler.ExponentialLR`."""
    return np.asarray(base * gamma ** int(step), np.float32)


@exponential_schedule.lowering
def _(call: Call) -> Symbol:
    at = call.attributes
    count = call[0].cast(DType.float32)
    return count.scalar(float(at["gamma"])).emit("Pow", count) * float(at["base"])


OPS: tuple[Op, ...] = (cosine_schedule, linear_schedule, step_schedule, exponential_schedule)
