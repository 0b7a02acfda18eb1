"""Reverse-mode differentiation: write the gradient of a loss into the program that computes it.

Note [Order of gradients]
    Contributions to one tensor are added in ascending order of the instructions that used it, and
    of their operands, so that the bits of a gradient are part of the meaning.

A macro without a gradient rule is differentiated through its lowering, which is written once more
behind the forward pass (the common parts are merged by `simplify`).
"""

from collections.abc import Sequence

from bcai.base.errors import VerifyError
from bcai.vm.compiler.expand import lower
from bcai.vm.isa.op import Call
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import Instruction

Contributions = dict[int, list[tuple[int, int, Symbol]]]


def gradients(loss: Symbol, wrt: Sequence[Symbol]) -> tuple[Symbol, ...]:
    """Gradients of a scalar loss with respect to each of `wrt`, in their types.

    Raises
    ------
    VerifyError
        The loss is not a float scalar, or an instruction on the way has no gradient.
    """
    builder = loss.builder
    if not isinstance(builder, Builder):
        raise TypeError("gradients are written by a Builder")
    if loss.shape != () or not loss.dtype.is_float:
        raise VerifyError(f"the loss is {loss.type}, expected a float scalar")
    end = len(builder.instructions)
    seeds = {loss.index: loss.full_like(1.0)}
    found = _pull(builder, 0, end, seeds, {each.index for each in wrt})
    return tuple(found.get(each.index) or each.full_like(0.0) for each in wrt)


def pull_back(
    builder: Builder, start: int, seeds: dict[int, Symbol], wanted: set[int]
) -> dict[int, Symbol]:
    """Gradients of `wanted` values, from those of what was written since instruction `start`.

    Parameters
    ----------
    seeds
        Gradients of results, by the number of their value.

    Raises
    ------
    VerifyError
        An instruction on the way has no gradient.
    """
    return _pull(builder, start, len(builder.instructions), seeds, wanted)


def _pull(
    builder: Builder, start: int, end: int, seeds: dict[int, Symbol], wanted: set[int]
) -> dict[int, Symbol]:
    """Pull gradients from `seeds` back through instructions [start, end) to `wanted` values."""
    needed = _needed(builder, start, end, wanted)
    pending: Contributions = {
        value: [(end, 0, symbol)] for value, symbol in seeds.items() if value in needed
    }
    for position in range(end - 1, start - 1, -1):
        instruction = builder.instructions[position]
        results = builder.results_of(position)
        d_results = tuple(_total(pending.pop(result.index, None)) for result in results)
        if all(each is None for each in d_results):
            continue
        operands = [
            None if each is None else Symbol(builder, each) for each in instruction.operands
        ]
        for index, (operand, d_operand) in enumerate(
            zip(operands, _pull_one(builder, instruction, results, d_results), strict=False)
        ):
            if operand is None or d_operand is None or operand.index not in needed:
                continue
            if d_operand.type != operand.type:
                raise VerifyError(
                    f"gradient of {instruction.op.name}, operand {index}: "
                    f"found {d_operand.type}, expected {operand.type}"
                )
            pending.setdefault(operand.index, []).append((position, index, d_operand))
    totals = {value: _total(parts) for value, parts in pending.items() if value in wanted}
    return {value: total for value, total in totals.items() if total is not None}


def _pull_one(
    builder: Builder,
    instruction: Instruction,
    results: tuple[Symbol, ...],
    d_results: tuple[Symbol | None, ...],
) -> Sequence[Symbol | None]:
    op = instruction.op
    operands = tuple(
        None if each is None else Symbol(builder, each) for each in instruction.operands
    )
    padded = operands + (None,) * (len(op.operands) - len(operands))
    if not op.differentiable:
        return ()
    if op.gradient_rule is not None:
        call = Call(op, builder, padded, instruction.attributes, results, d_results)
        return op.gradient_rule(call)
    if op.lowering_rule is None:
        raise VerifyError(f"{op.name} has no gradient")
    start = len(builder.instructions)
    lowered = lower(builder, op, operands, instruction.attributes)
    seeds = {symbol.index: d for symbol, d in zip(lowered, d_results, strict=True) if d is not None}
    wanted = {each.index for each in operands if each is not None}
    found = _pull(builder, start, len(builder.instructions), seeds, wanted)
    given: list[Symbol | None] = []
    for each in operands:  # an operand that stands twice has its whole gradient at the first place
        given.append(None if each is None else found.pop(each.index, None))
    return given


def _needed(builder: Builder, start: int, end: int, wanted: set[int]) -> set[int]:
    """Float values that depend on a wanted one."""
    needed = set(wanted)
    for position in range(start, end):
        instruction = builder.instructions[position]
        if instruction.op.differentiable and any(each in needed for each in instruction.operands):
            needed.update(
                each.index for each in builder.results_of(position) if each.dtype.is_float
            )
    return needed


def _total(parts: list[tuple[int, int, Symbol]] | None) -> Symbol | None:
    if not parts:
        return None
    ordered = sorted(parts, key=lambda part: part[:2])
    total = ordered[0][2]
    for _, _, part in ordered[1:]:
        total = total + part
    return total
