"""The kernel of a vector times a matrix whose columns start a multiple of 4096 bytes apart.

Note [Skewed lanes]
    The same k of all such columns falls into one set of a first level cache, which has fewer ways
    than a unit has columns: what the processor fetches ahead is pushed out before it is read. So
    every other lane lags two cache lines behind along k. The factors come in pairs then, of the k
    of either kind of lane, and a pair is broadcast as one number of twice the size. A block of 512
    ends for the lanes that lag so much later than for the others; a lane that is before its first
    k, or behind its last one, reads what is there, for a sum that nobody takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.kernels import contraction_vector as vectors
from bcai.vm.backends.native.kernels.contraction_product import Product
from bcai.vm.backends.native.kernels.microkernel import DEPTH_MAX
from bcai.vm.backends.native.kernels.packing import transposed
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import Module, Number, Value, vector
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

LAG_BYTES = 128
PAIRED_MAX = 8192
"""Steps of k up to which the pairs of factors stay in a second level cache."""


def can_skew(product: Product, target: Target) -> bool:
    """Whether a product of one row gains by skewed lanes, and has the form that they ask for."""
    dtype, columns, depth = product.right.type.dtype, product.columns, product.depth
    return (
        columns.right * dtype.itemsize % vectors.ALIASING_BYTES == 0
        and 0 < depth.size <= PAIRED_MAX
        and depth.size % DEPTH_MAX == 0
        and depth.left == depth.right == 1
        and not product.batch
        and dtype.is_float
        and target.fused
    )


def scratch_bytes(target: Target, dtype: DType, depth: int) -> int:
    """What a product of one row needs, and the pairs of factors."""
    return vectors.scratch_bytes(target) + 2 * (depth * dtype.itemsize + LAG_BYTES)


@dataclass(frozen=True, slots=True)
class ContractSkewed:
    """`ContractVector` along adjacent k, with its arguments, for the products of `can_skew`."""

    dtype: DType

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"contraction.{self.dtype.name}.vector.skewed"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e = entry(module, self.symbol)
        chains = vectors.chains_of(target, self.dtype, vectors.ALIASING_BYTES)
        writer = _Writer(vectors.VectorWriter(e, target, self.dtype), chains)
        writer.put_factors()
        with e.f.loop(e.begin, e.end) as unit:
            writer.write(e.f.mul(unit.index, chains * writer.lanes))
        e.f.give(0)


class _Writer:
    """Writes the columns of one unit: chains of as many columns as a vector has lanes."""

    def __init__(self, plain: vectors.VectorWriter, chains: int) -> None:
        self.plain, self.f, self.lanes, self.chains = plain, plain.f, plain.lanes, chains
        self.wide = plain.registers(self.lanes)
        self.lag = LAG_BYTES // plain.size
        self.depth = plain["depth"]
        self.pairs = self.f.offset(plain.e.scratch, vectors.scratch_bytes(plain.target))

    def places(self, step: Value) -> tuple[Value, Value]:
        """Which k the lanes that do not lag read from a step on, and those that do."""
        f = self.f
        early = f.minimum(step, f.sub(self.depth, self.lanes))
        return early, f.maximum(f.sub(step, self.lag), 0)

    def pair(self, step: Value) -> Value:
        """Address of the pair of factors of a step."""
        return self.f.offset(self.pairs, self.f.mul(step, 2 * self.plain.size))

    def put_factors(self) -> None:
        """Put the pairs of all steps where they are read one after the other."""
        f, lanes, size = self.f, self.lanes, self.plain.size
        with f.loop(0, f.add(self.depth, self.lag), lanes) as each:
            early, late = (
                f.load(f.offset(self.plain.left, f.mul(k, size)), self.wide.type)
                for k in self.places(each.index)
            )
            for start in (0, lanes // 2):
                picked = [at for k in range(start, start + lanes // 2) for at in (k, lanes + k)]
                there = f.offset(self.pair(each.index), start * 2 * size)
                f.store(f.shuffle(early, late, picked), there)

    def write(self, column: Value) -> None:
        """Blocks of k one after the other, and at the end what the lanes that lag still lack."""
        f, lanes, chains = self.f, self.lanes, self.chains
        last = f.sub(self.plain["columns"], 1)
        columns = [f.minimum(f.add(column, at), last) for at in range(chains * lanes)]
        zeros = [self.wide.constant(0.0)] * chains
        with f.loop(0, self.depth, DEPTH_MAX, zeros + zeros) as block:
            sums, totals = list(block.carried[:chains]), list(block.carried[chains:])
            middle = f.add(block.index, self.lag)
            sums = self.steps(columns, block.index, middle, sums)
            self.end_block(f.sub(block.index, DEPTH_MAX), sums, totals, lagging=True)
            sums = self.steps(columns, middle, f.add(block.index, DEPTH_MAX), sums)
            self.end_block(block.index, sums, totals, lagging=False)
            block.following[:] = [*sums, *totals]
        sums, totals = list(block.following[:chains]), list(block.following[chains:])
        sums = self.steps(columns, self.depth, f.add(self.depth, self.lag), sums)
        self.end_block(f.sub(self.depth, DEPTH_MAX), sums, totals, lagging=True)
        left_over = f.sub(self.plain["columns"], column)
        for at, total in enumerate(totals):
            some = f.minimum(f.sub(left_over, at * lanes), lanes)
            self.plain.put(total, f.add(column, at * lanes), f.maximum(some, 0))

    def steps(
        self, columns: Sequence[Value], start: Number, end: Number, sums: Sequence[Value]
    ) -> list[Value]:
        """Go on with the chains from step `start` to step `end`, whole vectors of steps."""
        f, lanes = self.f, self.lanes
        two = vector(self.plain.registers(1).type, 2)
        with f.loop(start, end, lanes, sums) as each:
            places = self.places(each.index)
            for chain in range(self.chains):
                # Were pairs seen to be the same for every chain, they would be held in registers.
                hidden = f.mul(self.plain["nothing"], chain)
                pairs = f.offset(self.pair(each.index), hidden)
                square = columns[chain * lanes : (chain + 1) * lanes]
                rows = [
                    f.load(self.plain.address(column, places[lane % 2]), self.wide.type)
                    for lane, column in enumerate(square)
                ]
                total = each.carried[chain]
                for step, row in enumerate(transposed(f, rows)):
                    factors = f.load(f.offset(pairs, step * 2 * self.plain.size), two)
                    factors = f.shuffle(factors, factors, [0, 1] * (lanes // 2))
                    total = self.wide.fma(factors, row, total)
                each.following[chain] = total
        return list(each.following)

    def end_block(
        self, start: Value, sums: list[Value], totals: list[Value], *, lagging: bool
    ) -> None:
        """Add the block from k `start` on to the totals of some lanes; their sums begin anew.

        A block before the first one is none.
        """
        f = self.f
        first, none = f.equal(start, 0), f.less(start, 0)
        picked = [
            lane if lane % 2 == int(lagging) else self.lanes + lane for lane in range(self.lanes)
        ]
        for at, (total, part) in enumerate(zip(totals, sums, strict=True)):
            more = f.b.select(first, part, self.wide.add(total, part))
            totals[at] = f.shuffle(f.b.select(none, total, more), total, picked)
            sums[at] = f.shuffle(self.wide.constant(0.0), part, picked)
