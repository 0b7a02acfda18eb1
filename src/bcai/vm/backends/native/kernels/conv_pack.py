"""Packing weights in panels of columns."""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_copy import copy, turn_rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_tile import panel_columns
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import Module, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class ConvPack:
    """Turns `[groups][parts][columns][depth]` to `[groups][panels][parts * depth][panel columns]`.

    `column_pitch` and `part_pitch` are elements between columns and between parts of the source, of
    which a group is `parts * columns * depth` elements.
    """

    dtype: DType
    groups: int
    parts: int
    columns: int
    depth: int
    part_pitch: int
    column_pitch: int

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

    def nbytes(self, target: Target) -> int:
        """Size of the result."""
        width = panel_columns(target, self.dtype)
        return self.units(target) * self.depth * width * self.dtype.itemsize

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

            def turn(columns: int, at: Value = at, into: Value = into) -> None:
                if self.depth == self.column_pitch == 1:
                    copy(f, target, self.dtype, at, into, columns)
                    return
                turn_rows(
                    f, target, self.dtype, at, self.column_pitch, into, width, columns,
                    self.depth, whole=True,
                )  # fmt: skip

            if last == width or panels == 1:
                turn(last)
            else:
                with f.either(f.less(panel, panels - 1)) as (yes, no):
                    with yes:
                        turn(width)
                    with no:
                        turn(last)
        f.give(0)
