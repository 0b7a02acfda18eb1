"""Rewrite a stack program to a Program over float64 scalars, with equal results.

The stack is followed at rewriting time, so that only arithmetic is left. A memory cell that is
read before it is written becomes an input `cell<n>`. The outputs are `stack<n>` from the bottom,
and `cell<n>` for every cell that was written. Where the stack machine refuses to divide by 0, the
Program's `Div` gives an infinity or not-a-number: that is the one case with another end.
"""

from collections.abc import Sequence

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.stack.bytecode import StackInstruction, StackOp
from bcai.vm.stack.machine import StackLimits, check

_SCALAR = TensorType(DType.float64)
_NAMES = {StackOp.Add: "Add", StackOp.Sub: "Sub", StackOp.Mul: "Mul", StackOp.Div: "Div"}


def rewrite(
    code: Sequence[StackInstruction],
    limits: StackLimits = StackLimits(),  # noqa: B008 - frozen
) -> VerifiedProgram:
    """Return the Program. Raises what the machine raises for its stack and its limits."""
    builder = Builder()
    cells = {cell: builder.input(f"cell{cell}", _SCALAR) for cell in _read_first(code)}
    stack: list[Symbol] = []
    written: set[int] = set()
    for position, instruction in enumerate(code):
        check(position, instruction, len(stack), limits)
        op = instruction.op
        if op is StackOp.Push:
            stack.append(_number(builder, float(instruction.argument or 0.0)))
        elif op is StackOp.Load:
            stack.append(cells[instruction.cell])
        elif op is StackOp.Store:
            cells[instruction.cell] = stack.pop()
            written.add(instruction.cell)
        elif op is StackOp.Pop:
            stack.pop()
        elif op is StackOp.Dup:
            stack.append(stack[-1])
        elif op is StackOp.Swap:
            stack[-1], stack[-2] = stack[-2], stack[-1]
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(left.emit(_NAMES[op], right))
    outputs = {f"stack{index}": symbol for index, symbol in enumerate(stack)}
    outputs |= {f"cell{cell}": cells[cell] for cell in sorted(written)}
    return builder.finish(**outputs)


def _number(builder: Builder, value: float) -> Symbol:
    return builder.emit("Full", (), {"shape": (), "value": value, "dtype": DType.float64})[0]


def _read_first(code: Sequence[StackInstruction]) -> list[int]:
    """Cells that are read before anything is written to them, in ascending order."""
    written: set[int] = set()
    found: set[int] = set()
    for instruction in code:
        if instruction.op is StackOp.Store:
            written.add(instruction.cell)
        elif instruction.op is StackOp.Load and instruction.cell not in written:
            found.add(instruction.cell)
    return sorted(found)
