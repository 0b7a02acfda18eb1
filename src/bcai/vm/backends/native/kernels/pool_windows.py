"""Windows of a pool over the planes of an image: which taps see an element, vector by vector.

Note [Pooling by vectors]
    Along the innermost axis windows lie side by side in the lanes. Windows all of whose taps along
    that axis see an element are computed a vector at a time, the last vector overlapping the one
    before; those at the edges one at a time. The other axes only narrow the range of taps, which
    comes from tables. A tap that sees nothing is left out: it never wins a maximum, and a sum that
    starts from +0 is the same with or without another +0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.kernels.conv_geometry import Three
from bcai.vm.backends.native.llvm import I32, I64, Function, Number, Type, Value, vector
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

UNROLLED_TAPS_MAX = 16
"""Taps that are written one after the other; more go round a loop."""

State = tuple[Value, ...]
Step = Callable[[Function, State, Value, Value], State]
"""State, values of a tap, and its place in the plane (i64, of the first lane): the next state."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over planes of `sizes`, axis by axis (outer, middle, inner)."""

    sizes: Three
    kernel: Three
    stride: Three
    before: Three
    after: Three
    dilation: Three
    outputs: Three

    @property
    def plane(self) -> int:
        """Elements of a plane."""
        return math.prod(self.sizes)

    @property
    def places(self) -> int:
        """Windows of a plane."""
        return math.prod(self.outputs)

    @property
    def pitches(self) -> Three:
        """Elements between neighbours of the plane."""
        return self.sizes[1] * self.sizes[2], self.sizes[2], 1

    def seen(self, axis: int) -> tuple[list[int], list[int]]:
        """For each window along an axis the first tap that sees an element, and the end."""
        firsts: list[int] = []
        ends: list[int] = []
        for window in range(self.outputs[axis]):
            start = window * self.stride[axis] - self.before[axis]
            step, taps = self.dilation[axis], self.kernel[axis]
            first = min(taps, max(0, -(start // step)))
            end = min(taps, max(first, -((start - self.sizes[axis]) // step)))
            firsts.append(first)
            ends.append(end)
        return firsts, ends

    def counts(self, axis: int, include_pad: bool) -> list[int]:
        """For each window along an axis how many taps count for a mean."""
        low = -self.before[axis] if include_pad else 0
        high = self.sizes[axis] + (self.after[axis] if include_pad else 0)
        found: list[int] = []
        for window in range(self.outputs[axis]):
            start = window * self.stride[axis] - self.before[axis]
            found.append(sum(low <= start + tap < high for tap in range(self.kernel[axis])))
        return found

    def inside(self) -> tuple[int, int]:
        """The windows along the innermost axis all of whose taps see an element: from, to."""
        firsts, ends = self.seen(2)
        whole = [
            at
            for at, (first, end) in enumerate(zip(firsts, ends, strict=True))
            if first == 0 and end == self.kernel[2]
        ]
        return (whole[0], whole[-1] + 1) if whole else (0, 0)


class WindowFold:
    """Writes the fold over the taps of windows into a function."""

    def __init__(
        self, f: Function, target: Target, dtype: DType, windows: Windows, plane: Value
    ) -> None:
        self.f, self.windows, self.plane = f, windows, plane
        self._target, self._dtype = target, dtype
        self._tables = [
            [
                f.module.table(f"pool.{name}.{axis}", I64, values)
                for name, values in zip(("first", "end"), windows.seen(axis), strict=True)
            ]
            for axis in range(3)
        ]

    def registers(self, lanes: int) -> Registers:
        """Exact arithmetic on so many lanes of floats."""
        return Registers(self.f, self._dtype, lanes, fused=self._target.fused)

    def constant(self, value: float, lanes: int) -> Value:
        """A number in so many lanes."""
        return self.f.constant(vector(IN_MEMORY[self._dtype], lanes), value)

    def row(self, outer: Value, act: Callable[[int, Value, Value, bool], None]) -> None:
        """Do all windows of an outer place: `act(lanes, middle, inner, inside)`."""
        f, windows = self.f, self.windows
        low, high = windows.inside()
        lanes = self._target.lanes(self._dtype)
        while lanes > max(1, high - low):
            lanes //= 2
        with f.loop(0, windows.outputs[1]) as middle:
            for start, stop in ((0, low), (high, windows.outputs[2])):
                if start < stop:
                    with f.loop(start, stop) as inner:
                        act(1, middle.index, inner.index, False)
            whole = (high - low) // lanes * lanes
            with f.loop(low, low + whole, lanes) as inner:
                act(lanes, middle.index, inner.index, True)
            if whole < high - low:
                act(lanes, middle.index, f.number(high - lanes), True)

    def fold(
        self,
        lanes: int,
        place: tuple[Value, Value, Value],
        inside: bool,
        start: State,
        step: Step,
    ) -> State:
        """Fold the taps of `lanes` windows from `place` on, in ascending order."""
        f, windows = self.f, self.windows
        ranges = [self._range(axis, place[axis]) for axis in range(3)]
        if not inside:
            return self._looped(lanes, place, ranges, start, step)
        ranges[2] = (f.number(0), f.number(windows.kernel[2]))
        if math.prod(windows.kernel) > UNROLLED_TAPS_MAX:
            return self._looped(lanes, place, ranges, start, step)
        whole = [
            f.equal(f.sub(end, first), windows.kernel[axis])
            for axis, (first, end) in enumerate(ranges[:2])
        ]
        with f.either(f.b.and_(whole[0], whole[1])) as (yes, no):
            with yes:
                state = start
                for tap0 in range(windows.kernel[0]):
                    for tap1 in range(windows.kernel[1]):
                        for tap2 in range(windows.kernel[2]):
                            state = self._step(lanes, place, (tap0, tap1, tap2), state, step)
                unrolled, unrolled_end = state, f.block
            with no:
                looped = self._looped(lanes, place, ranges, start, step)
                looped_end = f.block
        return tuple(
            f.merge([(a, unrolled_end), (b, looped_end)])
            for a, b in zip(unrolled, looped, strict=True)
        )

    def _range(self, axis: int, place: Value) -> tuple[Value, Value]:
        first, end = (self.f.offset(table, place, I64) for table in self._tables[axis])
        return self.f.load(first, I64), self.f.load(end, I64)

    def _looped(
        self,
        lanes: int,
        place: tuple[Value, Value, Value],
        ranges: Sequence[tuple[Value, Value]],
        start: State,
        step: Step,
    ) -> State:
        f = self.f
        with f.loop(*ranges[0], 1, start) as outer:
            with f.loop(*ranges[1], 1, outer.carried) as middle:
                with f.loop(*ranges[2], 1, middle.carried) as inner:
                    taps = (outer.index, middle.index, inner.index)
                    inner.following[:] = self._step(lanes, place, taps, inner.carried, step)
                middle.following[:] = inner.following
            outer.following[:] = middle.following
        return tuple(outer.following)

    def _step(
        self,
        lanes: int,
        place: tuple[Value, Value, Value],
        taps: tuple[Number, Number, Number],
        state: State,
        step: Step,
    ) -> State:
        f, windows = self.f, self.windows
        at: Number = 0
        for axis in range(3):
            start = f.sub(f.mul(place[axis], windows.stride[axis]), windows.before[axis])
            element = f.add(start, f.mul(taps[axis], windows.dilation[axis]))
            at = f.add(at, f.mul(element, windows.pitches[axis]))
        assert not isinstance(at, int)
        first = f.offset(self.plane, at, IN_MEMORY[self._dtype])
        values = strided(f, IN_MEMORY[self._dtype], lanes, first, windows.stride[2])
        return step(f, state, values, at)


def strided(f: Function, element: Type, lanes: int, first: Value, stride: int) -> Value:
    """Elements `stride` apart, the first at an address, one for each lane."""
    type_ = vector(element, lanes)
    if stride == 1 or lanes == 1:
        return f.load(first, type_)
    if stride == 2:
        low = f.load(first, type_)
        high = f.load(f.offset(first, lanes - 1, element), type_)
        half = lanes // 2
        places = [2 * lane if lane < half else 2 * lane + 1 for lane in range(lanes)]
        return f.shuffle(low, high, places)
    value = f.undefined(type_)
    for lane in range(lanes):
        one = f.load(f.offset(first, lane * stride, element), element)
        value = f.with_lane(value, one, lane)
    return value


def lane_steps(f: Function, lanes: int, stride: int) -> Value:
    """0, stride, 2 * stride, ... as i64."""
    if lanes == 1:
        return f.number(0)
    return f.constants(vector(I64, lanes), [lane * stride for lane in range(lanes)])


def count_table(f: Function, windows: Windows, axis: int, include_pad: bool) -> Value:
    """Address of `Windows.counts` as i32."""
    return f.module.table(f"pool.count.{axis}", I32, windows.counts(axis, include_pad))
