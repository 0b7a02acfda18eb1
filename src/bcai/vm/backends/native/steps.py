"""A plan as steps: launches of native kernels, and what the definition does in between."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bcai.vm.backends.native.canonical import canonical_launch
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.refusal import may_refuse
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Buffer, LoopTask, OpTask, Plan, Role, View, reads, writes
from bcai.vm.isa.op import Op

Step = Launch | OpTask
"""A launch, or an instruction that the definition runs."""
Lower = Callable[[LoopTask | OpTask, Scope], "list[Launch] | None"]


@dataclass(frozen=True, slots=True)
class Steps:
    """Everything that a run does, in order, on which buffers."""

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    outputs: Mapping[str, View]

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The native steps."""
        return tuple(each for each in self.steps if isinstance(each, Launch))


def is_expanded(op: Op) -> bool:
    """Whether an instruction is a macro that has no code as a whole."""
    from bcai.vm.backends.native.kernels import LOWERINGS

    return op.is_macro and op.name not in LOWERINGS


def lower(task: LoopTask | OpTask, scope: Scope) -> list[Launch] | None:
    """Launches for a task; None if there is no native code for it."""
    # here, because a program whose code is stored needs none of what writes code
    from bcai.vm.backends.native.kernels import LOWERINGS
    from bcai.vm.backends.native.loops import lower_loop

    if isinstance(task, LoopTask):
        return list(lower_loop(task, scope))
    first = task.operands[0].type if task.operands and task.operands[0] else None
    if all(each.type.elements == 0 for each in task.results) and may_refuse(task.op, first):
        return None  # nothing to compute, and yet an operand may be at fault
    lowering = LOWERINGS.get(task.op.name)
    found = None if lowering is None else lowering(task, scope)
    return None if found is None else list(found)


def lower_plan(plan: Plan, target: Target, threads: int, lower: Lower = lower) -> Steps:
    """Lower every task; results that leave get the one not-a-number at the end."""
    scope = Scope(target, threads, list(plan.buffers))
    steps: list[Step] = []
    for task in plan.tasks:
        before = len(scope.launches)
        found = lower(task, scope)
        if found is not None:
            scope.launches += found
        steps += scope.launches[before:]  # packed operands and the like come first
        if found is None:
            assert isinstance(task, OpTask), "every loop has native code"
            steps.append(task)
    leaving: dict[int, View] = {}
    for view in plan.outputs.values():
        if view.type.dtype.is_float and scope.buffers[view.buffer].role is Role.OUTPUT:
            leaving.setdefault(view.buffer, view)
    for number, view in leaving.items():
        count = scope.buffers[number].nbytes // view.type.dtype.itemsize
        steps.append(canonical_launch(number, view.type.dtype, count, len(plan.tasks)))
    worth = tuple(each for each in steps if isinstance(each, OpTask) or each.units > 0)
    return Steps(tuple(scope.buffers), worth, plan.outputs)


def touched(step: Step) -> tuple[set[int], set[int]]:
    """Buffers that a step reads, and those that it writes."""
    if isinstance(step, Launch):
        return set(step.reads), set(step.writes)
    return reads(step), writes(step)
