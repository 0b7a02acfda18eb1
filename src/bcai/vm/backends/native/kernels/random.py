"""Random numbers natively: `Philox`, `Uniform` and `RandomInt`.

Note [Random numbers natively]
    They are kernels of their own, not part of loops: a block of Philox gives four words, of which a
    loop would use one; and a step outside 32 bits is an error, which a kernel can report. Lanes
    hold blocks; their words are put in order when they are stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import (
    IN_MEMORY,
    Lanes,
    register_type,
    store_element,
)
from bcai.vm.backends.native.kernels.strided import address, landed
from bcai.vm.backends.native.launch import Launch, entry
from bcai.vm.backends.native.llvm import I32, I64, Function, Module, Value, lanes_of, vector
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import OpTask
from bcai.vm.isa.types import DType

BLOCKS = 16
"""Blocks of one unit; their counters share the high word."""
WORDS = 4 * BLOCKS
GRAIN = 512
"""Units that are worth a thread of their own."""
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = (1 << 32) - 1
BITS = {DType.float32: 24, DType.float16: 11, DType.bfloat16: 8}
"""Bits of a word that `Uniform` keeps."""


@dataclass(frozen=True, slots=True)
class RandomKernel:
    """Draws words and makes numbers of them.

    Slots: seed, step, result, its elements, stream, lowest number and count of numbers (of
    `RandomInt`). A unit is `BLOCKS` blocks. Returns 1 if the step is outside 32 bits.
    """

    name: str
    dtype: DType
    library: str | None = "random"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"{self.name.lower()}_{self.dtype.name}"

    @property
    def elements(self) -> int:
        """Elements of one unit."""
        return WORDS // 2 if self.dtype is DType.float64 else WORDS

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        seed, step = (f.load(at.pointer(slot), I64) for slot in (0, 1))
        with f.when(f.b.icmp_unsigned(">", step, f.number(LOW)), likely=False):
            f.give(1)
        result, count, stream = at.pointer(2), at.number(3), at.number(4)
        bounds = at.number(5), at.number(6)
        type_ = IN_MEMORY[self.dtype]
        aside = f.stack(type_, self.elements)
        lanes = Lanes(f, target, min(BLOCKS, 2 * target.lanes(DType.int64)))
        with f.loop(at.begin, at.end) as loop:
            start = f.mul(loop.index, self.elements)
            left = f.sub(count, start)
            whole = f.b.icmp_signed(">=", left, f.number(self.elements))
            place = f.offset(result, start, type_)
            to = f.b.select(whole, place, aside)
            share = self.elements // BLOCKS * lanes.count
            with f.loop(0, BLOCKS // lanes.count) as part:
                first = f.add(f.mul(loop.index, BLOCKS), f.mul(part.index, lanes.count))
                words = philox(lanes, first, step, stream, seed)
                self._store(lanes, words, f.offset(to, f.mul(part.index, share), type_), bounds)
            with f.when(f.b.not_(whole)), f.loop(0, left) as rest:
                value = f.load(f.offset(aside, rest.index, type_), type_)
                f.store(value, f.offset(place, rest.index, type_))
        f.give(0)

    def _store(
        self,
        lanes: Lanes,
        words: Sequence[Value],
        pointer: Value,
        bounds: tuple[Value, Value],
    ) -> None:
        f = lanes.f
        if self.dtype is DType.float64:
            whole = _in_order(f, [_pair(f, words[1], words[0]), _pair(f, words[3], words[2])])
            real = register_type(self.dtype, 2 * lanes.count)
            shifted = f.b.lshr(whole, f.constant(whole.type, 11))
            value = f.b.fmul(f.b.sitofp(shifted, real), f.constant(real, 2.0**-53))
            store_element(Lanes(f, lanes.target, 2 * lanes.count), value, pointer, self.dtype)
            return
        pairs = _in_order(f, [_pair(f, words[0], words[1]), _pair(f, words[2], words[3])])
        drawn = f.b.bitcast(pairs, vector(I32, 4 * lanes.count))
        wide = Lanes(f, lanes.target, 4 * lanes.count)
        store_element(wide, self._number(wide, drawn, bounds), pointer, self.dtype)

    def _number(self, lanes: Lanes, drawn: Value, bounds: tuple[Value, Value]) -> Value:
        f = lanes.f
        if self.name == "Uniform":
            bits = BITS[self.dtype]
            real = register_type(self.dtype, lanes.count)
            kept = f.b.lshr(drawn, f.constant(drawn.type, 32 - bits))
            return f.b.fmul(f.b.sitofp(kept, real), f.constant(real, 2.0**-bits))
        whole = f.b.zext(drawn, vector(I64, lanes.count))
        if self.name == "Philox":
            return whole
        low, count = (f.splat(each, lanes.count) for each in bounds)
        scaled = f.b.lshr(f.b.mul(whole, count), f.constant(whole.type, 32))
        return f.b.add(scaled, low)


def philox(lanes: Lanes, first: Value, step: Value, stream: Value, seed: Value) -> list[Value]:
    """The four words of blocks `first` on, in the low halves of int64 lanes."""
    f, count = lanes.f, lanes.count
    type_ = vector(I64, count)
    low, half = f.constant(type_, LOW), f.constant(type_, 32)
    places = f.constants(type_, list(range(count)))
    c0 = f.b.add(f.splat(first, count), places)
    c1 = f.splat(f.b.lshr(first, f.number(32)), count)
    c2, c3 = f.splat(step, count), f.splat(stream, count)
    keys = [seed, f.b.lshr(seed, f.number(32))]
    for number in range(ROUNDS):
        k0, k1 = (
            f.splat(f.add(key, number * step), count) for key, step in zip(keys, WEYL, strict=True)
        )
        products = [
            f.b.mul(f.b.and_(counter, low), f.constant(type_, multiplier))
            for counter, multiplier in zip((c0, c2), MULTIPLIERS, strict=True)
        ]
        one, two = products
        c0 = f.b.xor(f.b.xor(f.b.lshr(two, half), c1), k0)
        c2 = f.b.xor(f.b.xor(f.b.lshr(one, half), c3), k1)
        c1, c3 = two, one
    return [c0, c1, c2, c3]


def _pair(f: Function, low: Value, high: Value) -> Value:
    """Two words side by side."""
    below = f.b.and_(low, f.constant(low.type, LOW))
    return f.b.or_(below, f.b.shl(high, f.constant(low.type, 32)))


def _in_order(f: Function, pairs: Sequence[Value]) -> Value:
    """Both pairs of the first block, of the second, and so on."""
    a, b = pairs
    count = lanes_of(a.type)
    return f.shuffle(a, b, [lane + side * count for lane in range(count) for side in (0, 1)])


def draw(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches for `Philox`, `Uniform` and `RandomInt`."""
    seed, step = (each for each in task.operands if each is not None)
    low, high = (int(str(task.attributes.get(each, 0))) for each in ("low", "high"))
    if not -(1 << 63) <= low < 1 << 63:
        return None  # the definition says what is wrong
    result, after = landed(task.results[0], scope, task.position)
    kernel = RandomKernel(task.op.name, result.type.dtype)
    stream = int(str(task.attributes["stream"]))
    count = math.prod(result.type.shape)
    launch = Launch(
        kernel,
        (address(seed), address(step), address(result), count, stream, low, high - low),
        units=max(1, -(-count // kernel.elements)),  # one at least: the step is checked
        reads=(seed.buffer, step.buffer),
        writes=(result.buffer,),
        position=task.position,
        grain=GRAIN,
    )
    return [launch, *after]
