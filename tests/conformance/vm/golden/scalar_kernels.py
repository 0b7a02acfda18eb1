"""One scalar function of the instruction set as a kernel, element by element."""

from dataclasses import dataclass

from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa import scalar
from bcai.vm.isa.types import DType

OPERANDS = {"fma": 3, "pow": 2, "add": 2, "sub": 2, "mul": 2, "div": 2}
"""Operands of a function; 1 where nothing is said."""

FUNCTIONS = (*scalar.__all__, "fma", "add", "sub", "mul", "div", "sqrt")


@dataclass(frozen=True, slots=True)
class ScalarKernel:
    """`FUNCTIONS` one at a time; arguments are the operands and the result, a unit one element."""

    name: str
    dtype: DType
    library: str | None = None

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"scalar_{self.name}_{self.dtype.name}"

    def write(self, module: Module, target: Target) -> None:
        """Write the loop over vectors; the last one takes what is left."""
        e = entry(module, self.symbol)
        f, lanes = e.f, target.lanes(self.dtype)
        registers = Registers(f, self.dtype, lanes, fused=target.fused)
        count = OPERANDS.get(self.name, 1)
        *operands, result = (e.pointer(slot) for slot in range(count + 1))
        with f.loop(e.begin, e.end, lanes) as loop:
            place = f.mul(loop.index, self.dtype.itemsize)
            left = f.minimum(f.sub(e.end, loop.index), lanes)
            fill = registers.constant(1.0)
            values = [
                f.load_first(f.offset(each, place), registers.type, left, fill) for each in operands
            ]
            function = getattr(scalar, self.name, None)
            value = (
                function(registers, *values) if function else getattr(registers, self.name)(*values)
            )
            f.store_first(value, f.offset(result, place), left)
        f.give(0)
