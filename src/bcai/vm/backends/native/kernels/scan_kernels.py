"""Kernels of running folds and of the places of extremes.

They work on `T[outer, n, inner]`, contiguous, along the middle axis. A unit is `COLUMNS` columns of
one outer row.
"""

from dataclasses import dataclass
from functools import partial

from bcai.vm.backends.native.elementwise.lanes import (
    IN_MEMORY,
    Lanes,
    literal_element,
    load_element,
    register_type,
    store_element,
)
from bcai.vm.backends.native.kernels.ordered import key_limit, key_of, key_type
from bcai.vm.backends.native.kernels.strided import in_blocks
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, Module, Value, integer_like, vector
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

COLUMNS = 64


def column_blocks(inner: int) -> int:
    """Units of one outer row."""
    return -(-inner // COLUMNS)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of one unit."""

    outer: Value
    start: Value
    stop: Value


def _columns(at: Entry, unit: Value, inner: Value, *, single: bool) -> _Columns:
    f = at.f
    if single:
        return _Columns(unit, f.number(0), f.number(1))
    blocks = f.div(f.add(inner, COLUMNS - 1), COLUMNS)
    start = f.mul(f.rem(unit, blocks), COLUMNS)
    return _Columns(f.div(unit, blocks), start, f.minimum(f.add(start, COLUMNS), inner))


@dataclass(frozen=True, slots=True)
class RunningKernel:
    """`CumSum` and `CumProd`. Slots: x, result, n, inner. `single`: inner is 1."""

    name: str
    dtype: DType
    exclusive: bool
    reverse: bool
    single: bool
    library: str | None = "scan"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        flags = f"{self.exclusive:d}{self.reverse:d}{self.single:d}"
        return f"{self.name.lower()}_{self.dtype.name}_{flags}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, type_ = at.f, IN_MEMORY[self.dtype]
        x, result, n, inner = at.pointer(0), at.pointer(1), at.number(2), at.number(3)
        step = f.number(1) if self.single else inner
        forward = f.sub(0, step) if self.reverse else step
        with f.loop(at.begin, at.end) as loop:
            columns = _columns(at, loop.index, step, single=self.single)
            row = f.mul(f.mul(columns.outer, n), step)
            origin = f.add(row, f.mul(f.sub(n, 1), step)) if self.reverse else row

            def block(
                lanes: Lanes, index: Value, first: Value | None, origin: Value = origin
            ) -> None:
                start = f.add(origin, index)
                identity = literal_element(lanes, int(self.name == "CumProd"), self.dtype)
                if self.exclusive:
                    before = identity
                else:
                    before = load_element(lanes, f.offset(x, start, type_), self.dtype, first=first)
                    place = f.offset(result, start, type_)
                    store_element(lanes, self._held(lanes, before), place, self.dtype, first=first)
                with f.loop(0 if self.exclusive else 1, n, carry=[before]) as line:
                    place = f.add(start, f.mul(line.index, forward))
                    value = load_element(lanes, f.offset(x, place, type_), self.dtype, first=first)
                    total = self._step(lanes, line.carried[0], value)
                    line.following[0] = total
                    kept = self._held(lanes, line.carried[0] if self.exclusive else total)
                    pointer = f.offset(result, place, type_)
                    store_element(lanes, kept, pointer, self.dtype, first=first)

            lanes = Lanes(f, target, 1 if self.single else target.lanes(self.dtype))
            with f.when(f.less(0, n)):
                in_blocks(lanes, columns.start, columns.stop, block)
        f.give(0)

    def _step(self, lanes: Lanes, a: Value, b: Value) -> Value:
        builder = lanes.f.b
        if self.name == "CumSum":
            return builder.fadd(a, b) if self.dtype.is_float else builder.add(a, b)
        return builder.fmul(a, b) if self.dtype.is_float else builder.mul(a, b)

    def _held(self, lanes: Lanes, total: Value) -> Value:
        return lanes.rounded(total, self.dtype)


@dataclass(frozen=True, slots=True)
class ExtremeKernel:
    """`ArgMax` and `ArgMin`. Slots: x, result (int64), n, inner. `single`: inner is 1."""

    name: str
    dtype: DType
    single: bool
    library: str | None = "scan"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"{self.name.lower()}_{self.dtype.name}_{self.single:d}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        x, result, n, inner = at.pointer(0), at.pointer(1), at.number(2), at.number(3)
        lanes = Lanes(f, target, target.lanes(key_type(self.dtype)))
        with f.loop(at.begin, at.end) as loop:
            if self.single:
                row = f.offset(x, f.mul(loop.index, n), IN_MEMORY[self.dtype])
                f.store(self._along(lanes, row, n), f.offset(result, loop.index, I64))
            else:
                columns = _columns(at, loop.index, inner, single=False)
                start = f.mul(f.mul(columns.outer, n), inner)
                row = f.offset(x, start, IN_MEMORY[self.dtype])
                places = f.offset(result, f.mul(columns.outer, inner), I64)
                block = partial(self._across, row=row, places=places, n=n, inner=inner)
                in_blocks(lanes, columns.start, columns.stop, block)
        f.give(0)

    def _key(self, lanes: Lanes, pointer: Value, first: Value | None) -> Value:
        value = load_element(lanes, pointer, self.dtype, first=first)
        falling = self.name == "ArgMin"
        return key_of(lanes, value, self.dtype, falling=falling, nan_last=True)

    def _across(
        self,
        lanes: Lanes,
        column: Value,
        first: Value | None,
        *,
        row: Value,
        places: Value,
        n: Value,
        inner: Value,
    ) -> None:
        """Find and store places along the middle axis, a column a lane."""
        f, type_ = lanes.f, IN_MEMORY[self.dtype]
        best = self._key(lanes, f.offset(row, column, type_), first)
        place = f.constant(best.type, 0)
        with f.loop(1, n, carry=[best, place]) as loop:
            best, place = loop.carried
            pointer = f.offset(row, f.add(column, f.mul(loop.index, inner)), type_)
            key = self._key(lanes, pointer, first)
            better = f.b.icmp_signed(">", key, best)
            index = f.splat(self._counter(lanes, loop.index), lanes.count)
            loop.following[:] = [
                f.b.select(better, key, best),
                f.b.select(better, index, place),
            ]
        wide = vector(I64, lanes.count)
        found = f.b.sext(loop.following[1], wide) if self._is_short else loop.following[1]
        store_element(lanes, found, f.offset(places, column, I64), DType.int64, first=first)

    def _along(self, lanes: Lanes, row: Value, n: Value) -> Value:
        """Place along a row whose elements lie side by side, several lanes at a time."""
        f, count, type_ = lanes.f, lanes.count, IN_MEMORY[self.dtype]
        whole = register_type(key_type(self.dtype), count)
        limit = key_limit(self.dtype)
        places = f.constants(whole, list(range(count)))
        best = f.constant(whole, ~limit)
        end = f.sub(n, f.rem(n, count))

        def step(best: Value, place: Value, index: Value, first: Value | None) -> list[Value]:
            key = self._key(lanes, f.offset(row, index, type_), first)
            better = f.b.icmp_signed(">", key, best)
            if first is not None:
                better = f.b.and_(better, f.first_lanes(count, first))
            here = f.b.add(f.splat(self._counter(lanes, index), count), places)
            return [f.b.select(better, key, best), f.b.select(better, here, place)]

        with f.loop(0, end, count, carry=[best, places]) as loop:
            best, place = loop.carried
            loop.following[:] = step(best, place, loop.index, None)
        best, place = loop.following
        before = f.block
        with f.when(f.less(end, n)):
            rest = step(best, place, end, f.sub(n, end))
            inside = f.block
        best = f.merge([(best, before), (rest[0], inside)])
        place = f.merge([(place, before), (rest[1], inside)])
        most = f.intrinsic("vector.reduce.smax", best, result=f.lane(best, 0).type)
        among = f.b.icmp_signed("==", best, f.splat(most, count))
        place = f.b.select(among, place, f.constant(integer_like(whole), limit))
        found = f.intrinsic("vector.reduce.smin", place, result=most.type)
        return f.b.sext(found, I64) if self._is_short else found

    @property
    def _is_short(self) -> bool:
        return key_type(self.dtype) is DType.int32

    def _counter(self, lanes: Lanes, index: Value) -> Value:
        if not self._is_short:
            return index
        return lanes.f.b.trunc(index, register_type(DType.int32, 1))
