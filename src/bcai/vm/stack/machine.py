"""Runs stack programs on float64 values, within limits on stack, memory and steps."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bcai.base.errors import DivisionByZeroError, StackLimitError, StackUnderflowError
from bcai.vm.stack.bytecode import StackInstruction, StackOp


@dataclass(frozen=True, slots=True)
class StackLimits:
    """The largest stack program that runs."""

    stack: int = 1024
    memory: int = 65_536
    instructions: int = 1_000_000


@dataclass(frozen=True, slots=True)
class StackResult:
    """What is left: the stack, its top last, and the memory cells that were written."""

    stack: tuple[float, ...]
    memory: dict[int, float] = field(default_factory=dict[int, float])


ARITHMETIC: dict[StackOp, Callable[[float, float], float]] = {
    StackOp.Add: lambda a, b: a + b,
    StackOp.Sub: lambda a, b: a - b,
    StackOp.Mul: lambda a, b: a * b,
    StackOp.Div: lambda a, b: a / b,
}
_NEEDS = {StackOp.Push: 0, StackOp.Load: 0, StackOp.Pop: 1, StackOp.Dup: 1, StackOp.Store: 1}


def needs(op: StackOp) -> int:
    """How many values an instruction takes from the stack."""
    return _NEEDS.get(op, 2)


def run(
    code: Sequence[StackInstruction],
    memory: Iterable[tuple[int, float]] = (),
    limits: StackLimits = StackLimits(),
) -> StackResult:
    """Run a stack program. A cell that was never written holds 0.

    Raises
    ------
    StackUnderflowError, DivisionByZeroError, StackLimitError
        The message names the instruction.
    """
    if len(code) > limits.instructions:
        raise StackLimitError(f"{len(code)} instructions, the limit is {limits.instructions}")
    stack: list[float] = []
    cells = dict(memory)
    for position, instruction in enumerate(code):
        check(position, instruction, len(stack), limits)
        _step(position, instruction, stack, cells)
    return StackResult(tuple(stack), cells)


def check(position: int, instruction: StackInstruction, depth: int, limits: StackLimits) -> None:
    """Refuse an instruction that the stack's depth or a limit does not allow."""
    place = f"instruction {position} ({instruction.op.name})"
    if depth < needs(instruction.op):
        raise StackUnderflowError(
            f"{place}: needs {needs(instruction.op)} values, the stack holds {depth}"
        )
    grows = instruction.op in (StackOp.Push, StackOp.Dup, StackOp.Load)
    if grows and depth >= limits.stack:
        raise StackLimitError(f"{place}: the stack is full, its limit is {limits.stack} values")
    if instruction.op in (StackOp.Load, StackOp.Store) and instruction.cell >= limits.memory:
        raise StackLimitError(
            f"{place}: cell {instruction.cell} is outside a memory of {limits.memory} cells"
        )


def _step(
    position: int, instruction: StackInstruction, stack: list[float], cells: dict[int, float]
) -> None:
    op = instruction.op
    if op is StackOp.Push:
        stack.append(float(instruction.argument or 0.0))
    elif op is StackOp.Load:
        stack.append(cells.get(instruction.cell, 0.0))
    elif op is StackOp.Store:
        cells[instruction.cell] = stack.pop()
    elif op is StackOp.Pop:
        stack.pop()
    elif op is StackOp.Dup:
        stack.append(stack[-1])
    elif op is StackOp.Swap:
        stack[-1], stack[-2] = stack[-2], stack[-1]
    else:
        right, left = stack.pop(), stack.pop()
        if op is StackOp.Div and right == 0:
            raise DivisionByZeroError(f"instruction {position} (Div): {left!r} divided by 0")
        stack.append(ARITHMETIC[op](left, right))
