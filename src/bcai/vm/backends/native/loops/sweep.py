"""How vectors cover a row: side by side, overlapping at the end, past the caches.

Note [Vectors that overlap]
    A row of n elements is covered by vectors of `count <= n` lanes, the last of which starts at
    n - count and does some elements again: the same bits are stored twice. No lane is ever masked.
    A fold takes only the new lanes of the last vector.
"""

import math
from collections.abc import Callable, Sequence

from bcai.vm.backends.native.llvm import Number, Value
from bcai.vm.backends.native.loops.accumulate import UNORDERED
from bcai.vm.backends.native.loops.cost import instructions
from bcai.vm.backends.native.loops.folding import groups_of
from bcai.vm.backends.native.loops.form import Form
from bcai.vm.backends.native.loops.schedule import Pass
from bcai.vm.backends.native.loops.writer import Writer
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import LANES
from bcai.vm.isa.types import DType

REGISTER_INSTRUCTIONS_MAX = 320
"""Of the bodies of a pass that are written once for each accumulator."""
UNROLLED_INSTRUCTIONS = 12
"""Of the bodies of a pass without a fold that are written side by side."""
AROUND_BYTES = 32 << 20
"""Of the stores of a row, from which they go past the caches."""


def vectors(
    w: Writer,
    body: Callable[[Value], None],
    low: Number,
    high: Number,
    size: int,
    unroll: int,
) -> None:
    """Write `body` for vectors that cover `low` to `high` of an axis of `size` elements."""
    f, count = w.f, w.count
    exact = isinstance(low, int) and low == 0 and isinstance(high, int) and high % count == 0
    if unroll > 1:
        step = count * unroll
        whole = f.sub(high, f.rem(f.sub(high, low), step))
        with f.loop(low, whole, step) as loop:
            for place in range(unroll):
                body(f.add(loop.index, place * count))
        if exact and isinstance(high, int) and high % step == 0:
            return
        low = whole
    with f.loop(low, high, count) as loop:
        body(loop.index if exact else f.minimum(loop.index, size - count))


def unrolled(pass_: Pass, form: Form, target: Target, count: int, size: int) -> int:
    """How many bodies of a pass are written side by side."""
    work = sum(instructions(form.nodes[each], target) for each in pass_.order)
    work += len(pass_.stores) + len(pass_.reloaded) + len(pass_.kept)
    most = min(4, UNROLLED_INSTRUCTIONS // max(1, work))
    unroll = 1
    while 2 * unroll <= most and size >= 4 * unroll * count:
        unroll *= 2
    return unroll


def fits_registers(form: Form, passes: Sequence[Pass], target: Target, count: int) -> bool:
    """Whether the bodies of all folds are short enough to be written for each accumulator."""
    length = form.row[-1]
    if len(form.row) > 1 and length % LANES and (length % count or groups_of(count) != UNORDERED):
        return False
    copies = groups_of(count) * (length >= LANES) + -(-(length % LANES) // count)
    return all(
        copies * sum(instructions(form.nodes[each], target) + 1 for each in pass_.order)
        <= REGISTER_INSTRUCTIONS_MAX
        for pass_ in passes
        if pass_.folds
    )


def goes_around(form: Form, target: Target, count: int) -> bool:
    """Whether so much is stored that no cache would hold it for whoever reads it."""
    accesses = [each.access for each in form.stores]
    stored = sum(math.prod(form.row) * each.dtype.itemsize for each in accesses)
    whole = all(
        each.strides[-1] == 1
        and each.dtype in (DType.float32, DType.float64, DType.int32, DType.int64)
        and count * each.dtype.itemsize == target.vector_bytes
        for each in accesses
    )
    return whole and stored >= AROUND_BYTES
