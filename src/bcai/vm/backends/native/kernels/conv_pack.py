"""Packing weights in panels of columns."""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_copy import copy, turn_rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_tile import panel_columns
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import I64, Function, Module, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class ConvPack:
    """Turns `[groups][parts][columns][depth]` to `[groups][panels][parts * depth][panel columns]`.

    `column_pitch` and `part_pitch` are elements between columns and between parts of the source, of
    which a group is `parts * columns * depth` elements. With `checked` an i64 for each unit
    follows the panels: not 0 if any of its numbers is not finite.
    """

    dtype: DType
    groups: int
    parts: int
    columns: int
    depth: int
    part_pitch: int
    column_pitch: int
    checked: bool = False

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("conv_pack", self)

    @property
    def library(self) -> str:
        """An object of its own: the same convolution comes again in many programs."""
        return self.symbol

    def panels(self, target: Target) -> int:
        """Panels of one group."""
        return -(-self.columns // panel_columns(target, self.dtype))

    def units(self, target: Target) -> int:
        """Units of work: a part of a panel."""
        return self.groups * self.parts * self.panels(target)

    def panel_bytes(self, target: Target) -> int:
        """Size of the panels; answers follow."""
        width = panel_columns(target, self.dtype)
        return self.units(target) * self.depth * width * self.dtype.itemsize

    def nbytes(self, target: Target) -> int:
        """Size of the result."""
        return self.panel_bytes(target) + (8 * self.units(target) if self.checked else 0)

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are the source and the result."""
        e = entry(module, self.symbol)
        f = e.f
        source, result = e.pointer(0), e.pointer(1)
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        width, panels = panel_columns(target, self.dtype), self.panels(target)
        last = self.columns - (panels - 1) * width
        with f.loop(e.begin, e.end) as loop:
            rest, panel = f.div(loop.index, panels), f.rem(loop.index, panels)
            group, part = f.div(rest, self.parts), f.rem(rest, self.parts)
            start = f.add(
                f.mul(group, self.parts * self.columns * self.depth),
                f.add(f.mul(part, self.part_pitch), f.mul(panel, width * self.column_pitch)),
            )
            packed = f.add(f.mul(group, panels), panel)
            row = f.add(f.mul(packed, self.parts), part)
            at = f.offset(source, start, element)
            into = f.offset(result, f.mul(row, self.depth * width), element)

            answer = f.offset(f.offset(result, self.panel_bytes(target)), loop.index, I64)

            def turn(
                columns: int, at: Value = at, into: Value = into, answer: Value = answer
            ) -> None:
                if self.depth == self.column_pitch == 1:
                    copy(f, target, self.dtype, at, into, columns)
                else:
                    turn_rows(
                        f, target, self.dtype, at, self.column_pitch, into, width, columns,
                        self.depth, whole=True,
                    )  # fmt: skip
                if self.checked:
                    f.store(self._not_finite(f, target, into, columns), answer)

            if last == width or panels == 1:
                turn(last)
            else:
                with f.either(f.less(panel, panels - 1)) as (yes, no):
                    with yes:
                        turn(width)
                    with no:
                        turn(last)
        f.give(0)

    def _not_finite(self, f: Function, target: Target, panel: Value, columns: int) -> Value:
        """Whether any number of a packed part is not finite, as i64."""
        width, lanes = panel_columns(target, self.dtype), target.lanes(self.dtype)
        lanes = min(lanes, 1 << (columns.bit_length() - 1))
        registers = Registers(f, self.dtype, lanes, fused=target.fused)
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        starts = [*range(0, columns - lanes + 1, lanes), columns - lanes]
        with f.loop(0, self.depth, 1, [registers.constant(0.0)]) as loop:
            row = f.offset(panel, f.mul(loop.index, width), element)
            total = loop.carried[0]
            for start in starts:
                value = f.load(f.offset(row, start, element), registers.type)
                # Infinity less infinity is not a number, which stays.
                total = registers.add(total, registers.sub(value, value))
            loop.following[0] = total
        return f.b.zext(f.any_lane(registers.is_nan(loop.following[0])), I64)
