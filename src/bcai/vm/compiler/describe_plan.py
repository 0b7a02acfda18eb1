"""A plan as text, one line a task, for people."""

from collections.abc import Iterable

from bcai.base.units import format_size
from bcai.vm.compiler.plan import (
    Apply,
    Buffer,
    Fold,
    Literal,
    Load,
    LoopTask,
    OpTask,
    Place,
    Plan,
    Role,
    View,
    reads,
    writes,
)
from bcai.vm.compiler.schedule_memory import schedule_memory

_MARKS = {Role.INPUT: "", Role.CONSTANT: "c", Role.OUTPUT: "o", Role.TEMPORARY: "t"}


def describe(plan: Plan) -> str:
    """What each task does and on what, then what the plan needs.

    Buffers are inputs by name, constants `c3`, outputs `o3`, temporaries `t3`. A view that is not
    contiguous shows its strides. A loop shows its kept axes, then the folded ones, and of every
    element type and shape that it stores the buffers. A backend that computes in place needs less
    memory than the last line says; what it needs is its executable's `bytes_peak`.
    """
    names = [_name(buffer) for buffer in plan.buffers]
    lines = [
        f"{task.position:>5}  "
        + (_loop(task, names) if isinstance(task, LoopTask) else _operation(task, names))
        for task in plan.tasks
    ]
    loops = sum(isinstance(task, LoopTask) for task in plan.tasks)
    temporary = {each.number: each.nbytes for each in plan.buffers if each.role is Role.TEMPORARY}
    arena = schedule_memory(temporary, [(reads(task), writes(task)) for task in plan.tasks])
    total = sum(temporary.values())
    return "\n".join(
        [
            *lines,
            f"{len(plan.tasks)} tasks, {loops} of them loops; "
            f"temporaries {format_size(total)} in at most {format_size(arena.nbytes)}",
        ]
    )


def _name(buffer: Buffer) -> str:
    return buffer.name or f"{_MARKS[buffer.role]}{buffer.number}"


def _sizes(sizes: Iterable[int]) -> str:
    return ",".join(map(str, sizes))


def _view(view: View, names: list[str]) -> str:
    plain = view.is_contiguous and not view.offset
    place = "" if plain else f"({_sizes(view.strides)})+{view.offset}"
    return f"{names[view.buffer]}:{view.type}{place}"


def _operation(task: OpTask, names: list[str]) -> str:
    operands = ("-" if each is None else _view(each, names) for each in task.operands)
    results = (_view(each, names) for each in task.results)
    return f"{task.op.name} {' '.join(operands)} > {' '.join(results)}"


def _loop(task: LoopTask, names: list[str]) -> str:
    folds = any(isinstance(node, Fold) for node in task.nodes)
    shape = _sizes(task.shape[: task.kept] if folds else task.shape)
    domain = f"[{shape}|{_sizes(task.shape[task.kept :])}]" if folds else f"[{shape}]"
    done = [node.op.name for node in task.nodes if isinstance(node, Apply | Fold)]
    numbers = sum(isinstance(node, Literal | Place) for node in task.nodes)
    given = dict.fromkeys(names[node.view.buffer] for node in task.nodes if isinstance(node, Load))
    stored = " ".join(f"{names[view.buffer]}:{view.type.dtype.name}" for _, view in task.stores)
    what = " ".join(done) or ("copy" if given else "fill")
    beside = f" and {numbers} numbers" if numbers else ""
    return f"loop {domain} {' '.join(given) or 'nothing'}{beside} > {stored}: {what}"
