"""Instructions whose operands may be at fault: they count even where nobody uses their results."""

from collections.abc import Hashable

from bcai.vm.isa.op import Op
from bcai.vm.isa.types import TensorType
from bcai.vm.program.program import Instruction, Program, VerifiedProgram
from bcai.vm.program.verifier import verify

_GROUPS = frozenset({"index", "random", "hybrid"})
_INDEXED = frozenset({"MaxPoolGrad"})
"""Instructions of other groups that take indices."""
_WHOLE_NUMBERS = frozenset({"Div", "Mod", "Fmod", "Pow", "BitShiftLeft", "BitShiftRight"})
_UNUSED = "unused %"
"""Begins the names of outputs that are added; no program's own output may be so named twice."""


def keep_refusals(verified: VerifiedProgram) -> VerifiedProgram:
    """Add an output for each unused instruction that may refuse its operands.

    The definition runs every instruction, so that what is wrong comes out even where nothing
    depends on it; a pass that drops unused instructions must not hide it.
    """
    program = verified.program
    live = _live_values(verified)
    number = _numbered(verified)
    computed = {number[value] for value in live}
    kept: list[int] = []
    for instruction, first in zip(program.instructions, verified.first_result, strict=True):
        if number[first] not in computed and _may_refuse(instruction, verified):
            computed.add(number[first])
            kept.append(first)
    if not kept:
        return verified
    taken = {name for name, _ in program.outputs}
    names = [_free_name(value, taken) for value in kept]
    outputs = (*program.outputs, *zip(names, kept, strict=True))
    parts = (program.inputs, program.parameters, program.instructions, outputs, program.metadata)
    return verify(Program(program.isa_version, *parts))


def _live_values(verified: VerifiedProgram) -> set[int]:
    """All results of instructions that outputs depend on."""
    program = verified.program
    live = {value for _, value in program.outputs}
    pairs = zip(program.instructions, verified.results, strict=True)
    for instruction, results in reversed([*pairs]):
        if any(value in live for value in results):
            live.update(results)
            live.update(each for each in instruction.operands if each is not None)
    return live


def _numbered(verified: VerifiedProgram) -> list[int]:
    """The first value that is computed alike, for every value: it refuses alike, too."""
    program = verified.program
    number = list(range(len(verified.types)))
    seen: dict[Hashable, int] = {}
    for instruction, results in zip(program.instructions, verified.results, strict=True):
        operands = tuple(None if each is None else number[each] for each in instruction.operands)
        key = (instruction.op.opcode, operands, repr(instruction.attributes))
        first = seen.setdefault(key, results.start) if instruction.op.pure else results.start
        number[results.start : results.stop] = range(first, first + len(results))
    return number


def may_refuse(op: Op, first: TensorType | None) -> bool:
    """Whether an instruction whose first operand is of this type may refuse its operands."""
    if op.group in _GROUPS or op.name in _INDEXED:
        return True
    return op.name in _WHOLE_NUMBERS and first is not None and not first.dtype.is_float


def _may_refuse(instruction: Instruction, verified: VerifiedProgram) -> bool:
    first = instruction.operands[0] if instruction.operands else None
    return may_refuse(instruction.op, None if first is None else verified.types[first])


def _free_name(value: int, taken: set[str]) -> str:
    name = f"{_UNUSED}{value}"
    while name in taken:
        name += "'"
    return name
