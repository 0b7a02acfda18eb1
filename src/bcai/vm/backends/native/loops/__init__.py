"""Loops: fused element-by-element work and folds, as kernels made for each form of loop."""

import math
from collections.abc import Sequence

from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.loops.canonical import canonical
from bcai.vm.backends.native.loops.cost import units_for_a_thread
from bcai.vm.backends.native.loops.form import Read
from bcai.vm.backends.native.loops.in_place import in_place
from bcai.vm.backends.native.loops.kernel import LoopKernel
from bcai.vm.backends.native.loops.memory import memory_of
from bcai.vm.backends.native.loops.shares import shares
from bcai.vm.backends.native.loops.split import Addressed, is_worth_splitting, split
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import LoopTask

__all__ = ["lower_loop"]


def lower_loop(task: LoopTask, scope: Scope) -> Sequence[Launch]:
    """Launches that do a loop: one, none if nothing is stored, more for few long rows."""
    form, addresses = canonical(task)
    if not form.stores or not math.prod(form.outer) or (not form.folds and not form.row[-1]):
        return ()
    if is_worth_splitting(form, scope):
        parts = split(form, addresses, scope)
    else:
        parts = [Addressed(form, addresses)]
    return tuple(_launch(each, task.position, scope.target) for each in parts)


def _launch(part: Addressed, position: int, target: Target) -> Launch:
    form, addresses = part.form, part.addresses
    cut, memory = shares(form, target), memory_of(form, target)
    read = {each.access.slot for each in form.nodes if isinstance(each, Read)}
    written = {each.access.slot for each in form.stores}
    return Launch(
        LoopKernel(form.symbol, form),
        addresses,
        cut.units,
        tuple(sorted({addresses[each].buffer for each in read})),
        tuple(sorted({addresses[each].buffer for each in written})),
        position,
        units_for_a_thread(cut.unit_ns),
        memory.nbytes,
        in_place(form, addresses, memory.passes, target),
    )
