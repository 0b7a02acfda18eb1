"""The kernels of `MaxPool` and `AvgPool`."""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.pool_windows import (
    State,
    WindowFold,
    Windows,
    count_table,
    lane_steps,
)
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import (
    I32,
    I64,
    Function,
    Module,
    Type,
    Value,
    bits_of,
    integer_like,
    lanes_of,
    vector,
)
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class MaxPool:
    """First largest element of each window and its place; a unit is an outer place of a plane."""

    dtype: DType
    windows: Windows

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("max_pool", self)

    @property
    def library(self) -> str:
        """An object of its own: the same pool comes again in many programs."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are planes, largest elements, their places."""
        e = entry(module, self.symbol)
        f, windows = e.f, self.windows
        source, values, places = (e.pointer(slot) for slot in range(3))
        with f.loop(e.begin, e.end) as loop:
            number, outer = (
                f.div(loop.index, windows.outputs[0]),
                f.rem(loop.index, windows.outputs[0]),
            )
            start = f.mul(number, windows.plane * self.dtype.itemsize)
            fold = WindowFold(f, target, self.dtype, windows, f.offset(source, start))
            result = f.mul(number, windows.places)

            def act(lanes: int, middle: Value, inner: Value, inside: bool) -> None:
                nothing = fold.constant(0, lanes)
                state = (nothing, f.constant(self._places_type(nothing), -1))
                place = (outer, middle, inner)
                largest, best = fold.fold(lanes, place, inside, state, self._keep_larger)
                row = f.add(f.mul(outer, windows.outputs[1]), middle)
                at = f.add(f.add(result, f.mul(row, windows.outputs[2])), inner)
                f.store(largest, f.offset(values, f.mul(at, self.dtype.itemsize)))
                wide = vector(I64, lanes)
                where = best if best.type == wide else f.b.sext(best, wide)
                moved = f.b.add(where, lane_steps(f, lanes, windows.stride[2]))
                is_none = f.b.icmp_signed("<", where, f.constant(wide, 0))
                f.store(f.b.select(is_none, where, moved), f.offset(places, at, I64))

            fold.row(outer, act)
        f.give(0)

    def _places_type(self, values: Value) -> Type:
        """What holds a place beside each value: as wide as it, if a place fits."""
        same = integer_like(values.type)
        return same if bits_of(same) >= 32 else vector(I32, lanes_of(same))

    def _keep_larger(self, f: Function, state: State, value: Value, place: Value) -> State:
        """The first of equals stays, and not-a-number stays for ever."""
        largest, best = state
        if self.dtype.is_float:
            above = f.b.fcmp_unordered(">", value, largest)  # or either is not a number
            above = f.b.and_(above, f.b.fcmp_ordered("ord", largest, largest))
        elif self.dtype is DType.uint8:
            above = f.b.icmp_unsigned(">", value, largest)
        else:
            above = f.b.icmp_signed(">", value, largest)
        nothing = f.b.icmp_signed("<", best, f.constant(best.type, 0))
        wins = f.b.or_(nothing, above)
        lanes = lanes_of(best.type)
        one = place if best.type == vector(I64, lanes) else f.b.trunc(place, I32)
        where = f.splat(one, lanes)
        return f.b.select(wins, value, largest), f.b.select(wins, where, best)


@dataclass(frozen=True, slots=True)
class AvgPool:
    """Mean of each window; a unit is an outer place of a plane."""

    dtype: DType
    windows: Windows
    include_pad: bool

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("avg_pool", self)

    @property
    def library(self) -> str:
        """An object of its own: the same pool comes again in many programs."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are planes and means."""
        e = entry(module, self.symbol)
        f, windows = e.f, self.windows
        source, means = e.pointer(0), e.pointer(1)
        tables = [count_table(f, windows, axis, self.include_pad) for axis in range(3)]
        with f.loop(e.begin, e.end) as loop:
            number, outer = (
                f.div(loop.index, windows.outputs[0]),
                f.rem(loop.index, windows.outputs[0]),
            )
            start = f.mul(number, windows.plane * self.dtype.itemsize)
            fold = WindowFold(f, target, self.dtype, windows, f.offset(source, start))
            result = f.mul(number, windows.places)

            def act(lanes: int, middle: Value, inner: Value, inside: bool) -> None:
                registers = fold.registers(lanes)
                place = (outer, middle, inner)

                def add(f: Function, state: State, value: Value, place: Value) -> State:
                    del place
                    return (registers.add(state[0], value),)

                (total,) = fold.fold(lanes, place, inside, (registers.constant(0.0),), add)
                row = f.add(f.mul(outer, windows.outputs[1]), middle)
                at = f.add(f.add(result, f.mul(row, windows.outputs[2])), inner)
                counts = [
                    f.load(f.offset(table, where, I32), I32)
                    for table, where in zip(tables, place, strict=True)
                ]
                count = f.b.mul(f.b.mul(counts[0], counts[1]), counts[2])
                divisor = f.splat(f.b.sitofp(count, fold.registers(1).type), lanes)
                f.store(
                    registers.div(total, divisor), f.offset(means, f.mul(at, self.dtype.itemsize))
                )

            fold.row(outer, act)
        f.give(0)
