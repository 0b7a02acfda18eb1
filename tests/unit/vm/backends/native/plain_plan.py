"""The simplest plan: every instruction is a task of its own, every value a buffer of its own."""

from bcai.vm.compiler.plan import Buffer, OpTask, Plan, Role, View, row_major
from bcai.vm.isa.types import TensorType
from bcai.vm.program.program import VerifiedProgram


def plain_plan(verified: VerifiedProgram) -> Plan:
    program, ports = verified.program, len(verified.program.ports)
    leaving = {value for _, value in program.outputs}
    buffers: list[Buffer] = []
    views: list[View] = []
    for number, type_ in enumerate(verified.types):
        role = Role.OUTPUT if number in leaving else Role.TEMPORARY
        name = program.ports[number].name if number < ports else ""
        buffers.append(Buffer(number, type_.nbytes, Role.INPUT if name else role, name))
        views.append(whole(number, type_))
    ends = (*verified.first_result[1:], len(verified.types))
    tasks = tuple(
        OpTask(
            each.op,
            each.attributes,
            tuple(None if value is None else views[value] for value in each.operands),
            tuple(views[verified.first_result[position] : ends[position]]),
            position,
        )
        for position, each in enumerate(program.instructions)
    )
    return Plan(tuple(buffers), tasks, {name: views[value] for name, value in program.outputs})


def whole(buffer: int, type_: TensorType) -> View:
    return View(buffer, type_, row_major(type_.shape))
