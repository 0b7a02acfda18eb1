"""The kernels of `MaxPoolGrad` and `AvgPoolGrad`: a unit is a plane."""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_copy import fill
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.pool_windows import Windows, count_table
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I1, I32, I64, Function, Module, Number, Value, vector
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class MaxPoolGrad:
    """Adds `places` numbers to a plane of `size` zeros, each where an index says."""

    dtype: DType
    size: int
    places: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("max_pool_grad", self)

    @property
    def library(self) -> str:
        """An object of its own: the same pool comes again in many programs."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are numbers, their places, planes."""
        e = entry(module, self.symbol)
        f = e.f
        numbers, places, planes = (e.pointer(slot) for slot in range(3))
        registers = Registers(f, self.dtype, 1, fused=target.fused)
        type_ = registers.type
        with f.loop(e.begin, e.end, 1, [f.constant(I1, 0)]) as loop:
            plane = f.offset(planes, f.mul(loop.index, self.size), type_)
            fill(f, target, self.dtype, plane, self.size)
            first = f.mul(loop.index, self.places)
            with f.loop(0, self.places, 1, loop.carried) as each:
                at = f.add(first, each.index)
                place = f.load(f.offset(places, at, I64), I64)
                place = f.b.select(f.less(place, 0), f.add(place, self.size), place)
                fits = f.b.icmp_unsigned("<", place, f.number(self.size))
                into = f.offset(plane, f.b.select(fits, place, f.number(0)), type_)
                number = f.load(f.offset(numbers, at, type_), type_)
                f.store(registers.add(f.load(into, type_), number), into)
                each.following[0] = f.b.or_(each.carried[0], f.b.not_(fits))
            loop.following[0] = each.following[0]
        f.give(f.b.zext(loop.following[0], I64))


@dataclass(frozen=True, slots=True)
class AvgPoolGrad:
    """Adds the share of every window to the elements that it saw, tap by tap."""

    dtype: DType
    windows: Windows
    include_pad: bool

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("avg_pool_grad", self)

    @property
    def library(self) -> str:
        """An object of its own: the same pool comes again in many programs."""
        return self.symbol

    @property
    def scratch_bytes(self) -> int:
        """Memory that a thread needs: the shares of a plane."""
        return self.windows.places * self.dtype.itemsize

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are the gradient of the means, and planes."""
        e = entry(module, self.symbol)
        f, windows = e.f, self.windows
        given, planes = e.pointer(0), e.pointer(1)
        type_ = Registers(f, self.dtype, 1, fused=target.fused).type
        with f.loop(e.begin, e.end) as loop:
            gradient = f.offset(given, f.mul(loop.index, windows.places), type_)
            plane = f.offset(planes, f.mul(loop.index, windows.plane), type_)
            self._write_shares(e, target, gradient)
            fill(f, target, self.dtype, plane, windows.plane)
            with f.loop(0, windows.kernel[0]) as tap0, f.loop(0, windows.kernel[1]) as tap1:
                self._add_taps(e, target, plane, tap0.index, tap1.index)
        f.give(0)

    def _write_shares(self, e: Entry, target: Target, gradient: Value) -> None:
        """Divide the numbers of a plane by the counts of their windows, into scratch."""
        f, (outers, middles, inners) = e.f, self.windows.outputs
        tables = [count_table(f, self.windows, axis, self.include_pad) for axis in range(3)]
        lanes = target.lanes(self.dtype)

        def divide(row: Value, count: Value, inner: Number, wide: int) -> None:
            registers = Registers(f, self.dtype, wide, fused=target.fused)
            type_ = Registers(f, self.dtype, 1, fused=target.fused).type
            counts = f.load(f.offset(tables[2], inner, I32), vector(I32, wide))
            whole = f.b.mul(counts, f.splat(count, wide))
            at = f.add(f.mul(row, inners), inner)
            value = f.load(f.offset(gradient, at, type_), registers.type)
            share = registers.div(value, f.b.sitofp(whole, registers.type))
            f.store(share, f.offset(e.scratch, at, type_))

        with f.loop(0, outers) as outer, f.loop(0, middles) as middle:
            row = f.add(f.mul(outer.index, middles), middle.index)
            count = f.b.mul(
                f.load(f.offset(tables[0], outer.index, I32), I32),
                f.load(f.offset(tables[1], middle.index, I32), I32),
            )
            whole = inners // lanes * lanes
            with f.loop(0, whole, lanes) as inner:
                divide(row, count, inner.index, lanes)
            with f.loop(whole, inners) as inner:
                divide(row, count, inner.index, 1)

    def _add_taps(self, e: Entry, target: Target, plane: Value, tap0: Value, tap1: Value) -> None:
        """Add the shares to what the taps (tap0, tap1, *) saw."""
        f, windows = e.f, self.windows
        type_ = Registers(f, self.dtype, 1, fused=target.fused).type
        outer_from, outer_to = _seeing(f, windows, 0, tap0)
        middle_from, middle_to = _seeing(f, windows, 1, tap1)
        with f.loop(outer_from, outer_to) as outer, f.loop(middle_from, middle_to) as middle:
            row = f.add(
                f.mul(_element(f, windows, 0, outer.index, tap0), windows.sizes[1]),
                _element(f, windows, 1, middle.index, tap1),
            )
            result = f.offset(plane, f.mul(row, windows.sizes[2]), type_)
            window = f.add(f.mul(outer.index, windows.outputs[1]), middle.index)
            shares = f.offset(e.scratch, f.mul(window, windows.outputs[2]), type_)
            start = 0
            if self._is_halving:
                start = self._add_halving(f, target, result, shares)
            with f.loop(0, windows.kernel[2]) as tap2:
                first, end = _seeing(f, windows, 2, tap2.index)
                registers = Registers(f, self.dtype, 1, fused=target.fused)
                with f.loop(f.maximum(first, start), end) as inner:
                    at = _element(f, windows, 2, inner.index, tap2.index)
                    into = f.offset(result, at, type_)
                    share = f.load(f.offset(shares, inner.index, type_), type_)
                    f.store(registers.add(f.load(into, type_), share), into)

    @property
    def _is_halving(self) -> bool:
        """Whether along the innermost axis each share belongs to two elements, side by side."""
        windows = self.windows
        return windows.kernel[2] == windows.stride[2] == 2 and windows.before[2] == 0

    def _add_halving(self, f: Function, target: Target, result: Value, shares: Value) -> int:
        """Add the first shares by whole vectors; return how many."""
        windows, lanes = self.windows, target.lanes(self.dtype)
        registers = Registers(f, self.dtype, lanes, fused=target.fused)
        type_ = Registers(f, self.dtype, 1, fused=target.fused).type
        whole = min(windows.outputs[2], windows.sizes[2] // 2) // lanes * lanes
        with f.loop(0, whole, lanes) as loop:
            share = f.load(f.offset(shares, loop.index, type_), registers.type)
            for half in range(2):
                places = [half * lanes // 2 + lane // 2 for lane in range(lanes)]
                both = f.shuffle(share, share, places)
                into = f.offset(result, f.add(f.mul(loop.index, 2), half * lanes), type_)
                f.store(registers.add(f.load(into, registers.type), both), into)
        return whole


def _element(f: Function, windows: Windows, axis: int, window: Value, tap: Value) -> Value:
    """The place along an axis that a tap of a window sees."""
    start = f.sub(f.mul(window, windows.stride[axis]), windows.before[axis])
    return f.add(start, f.mul(tap, windows.dilation[axis]))


def _seeing(f: Function, windows: Windows, axis: int, tap: Value) -> tuple[Value, Value]:
    """Windows along an axis whose tap sees an element: from, to."""
    stride, outputs = windows.stride[axis], windows.outputs[axis]
    offset = f.sub(windows.before[axis], f.mul(tap, windows.dilation[axis]))
    low = f.div(f.add(f.maximum(offset, 0), stride - 1), stride)
    high = f.div(f.maximum(f.add(f.add(offset, windows.sizes[axis]), stride - 1), 0), stride)
    return low, f.minimum(high, outputs)
