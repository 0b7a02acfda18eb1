"""Which matrices a unit of a batched contraction works on."""

from bcai.vm.backends.native.llvm import I64, Function, Value

AXIS_SLOTS = 4
"""Arguments of one batch axis: its size, and the bytes that a step moves left, right and result."""


def batch_offsets(
    f: Function, slots: Value, axes: Value, batch: Value
) -> tuple[Value, Value, Value]:
    """Bytes from the first matrix of left, right and result to those of number `batch`.

    `slots` is the address of the axes' arguments, the last axis first.
    """
    zero = f.number(0)
    with f.loop(0, axes, 1, (batch, zero, zero, zero)) as axis:
        here = f.offset(slots, f.mul(axis.index, AXIS_SLOTS), I64)
        size, *steps = (f.load(f.offset(here, at, I64), I64) for at in range(AXIS_SLOTS))
        place = f.rem(axis.carried[0], size)
        axis.following[0] = f.div(axis.carried[0], size)
        for at, step in enumerate(steps):
            axis.following[1 + at] = f.add(axis.carried[1 + at], f.mul(place, step))
    _, left, right, result = axis.following
    return left, right, result
