"""Loops: fused element-by-element work and folds, as kernels made for each form of loop."""

import math
from collections.abc import Sequence

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.loops.canonical import canonical
from bcai.vm.backends.native.loops.cost import units_for_a_thread
from bcai.vm.backends.native.loops.form import Form
from bcai.vm.backends.native.loops.kernel import LoopKernel
from bcai.vm.backends.native.loops.memory import memory_of
from bcai.vm.backends.native.loops.shares import shares
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import LoopTask, reads, writes

__all__ = ["lower_loop"]


def lower_loop(task: LoopTask, scope: Scope) -> Sequence[Launch]:
    """Launches that do a loop: one, or none if nothing is stored."""
    form, addresses = canonical(task)
    if not form.stores or not math.prod(form.outer) or (not form.folds and not form.row[-1]):
        return ()
    return (launch(form, addresses, task, scope.target),)


def launch(form: Form, addresses: tuple[Address, ...], task: LoopTask, target: Target) -> Launch:
    """The launch of a form."""
    cut = shares(form, target)
    return Launch(
        LoopKernel(form.symbol, form),
        addresses,
        cut.units,
        tuple(sorted(reads(task))),
        tuple(sorted(writes(task))),
        task.position,
        units_for_a_thread(cut.unit_ns),
        memory_of(form, target).nbytes,
    )
