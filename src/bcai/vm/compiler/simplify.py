"""Merge instructions that compute the same, and drop those that nothing uses."""

from collections.abc import Hashable

from bcai.vm.isa.attribute import Attribute
from bcai.vm.program.program import Instruction, Program, VerifiedProgram
from bcai.vm.program.verifier import verify


def simplify(verified: VerifiedProgram) -> VerifiedProgram:
    """Return a program with the same outputs, bit for bit, and no instruction too many."""
    program = verified.program
    number = list(range(len(program.ports)))  # old value > new value
    seen: dict[Hashable, int] = {}
    used = used_instructions(verified)
    kept: list[Instruction] = []
    count = len(program.ports)
    for position, (instruction, results) in enumerate(
        zip(program.instructions, verified.results, strict=True)
    ):
        operands = tuple(None if each is None else number[each] for each in instruction.operands)
        attributes = tuple(_exact(each) for each in instruction.attributes.values())
        key = (instruction.op.opcode, operands, attributes)
        if instruction.op.pure and key in seen:
            first = seen[key]
        elif position in used:
            first = seen[key] = count
            count += len(results)
            kept.append(Instruction(instruction.op, operands, instruction.attributes))
        else:
            first = -1 - len(results)  # nothing refers to it
        number += range(first, first + len(results))
    outputs = tuple((name, number[value]) for name, value in program.outputs)
    return verify(
        Program(
            program.isa_version,
            program.inputs,
            program.parameters,
            tuple(kept),
            outputs,
            program.metadata,
        )
    )


def _exact(value: Attribute) -> Hashable:
    return (type(value), repr(value)) if isinstance(value, float | tuple) else (type(value), value)


def used_instructions(verified: VerifiedProgram) -> set[int]:
    """Positions of the instructions that outputs depend on."""
    program = verified.program
    live, used = {value for _, value in program.outputs}, set[int]()
    for position, results in reversed([*enumerate(verified.results)]):
        if any(each in live for each in results):
            used.add(position)
            operands = program.instructions[position].operands
            live.update(each for each in operands if each is not None)
    return used
