"""From a program to its layout and code: planned and compiled, or as they were stored."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from bcai.vm.backends.native.code import Code, find_code, load_kernels, writers
from bcai.vm.backends.native.layout import Layout, lay_out, pack, unpack
from bcai.vm.backends.native.memory import BlockPool
from bcai.vm.backends.native.objects import ObjectCache, object_key
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.native.steps import Lower, is_expanded, lower, lower_plan
from bcai.vm.backends.native.target import Target
from bcai.vm.backends.reference.float_mode import default_float_mode
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import Plan
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import VerifiedProgram

Planner = Callable[[VerifiedProgram], Plan]
_FORMAT = "layout 1"


def plan(verified: VerifiedProgram) -> Plan:
    """Plan for this backend."""
    # here, because a program whose layout is stored is not planned
    from bcai.vm.backends.native.elementwise import supports
    from bcai.vm.compiler.plan_program import make_plan

    return make_plan(verified, elementwise=supports, expanded=is_expanded)


@dataclass(frozen=True, slots=True)
class Machine:
    """What code is written for and runs with."""

    target: Target
    threads: int
    objects: ObjectCache
    blocks: BlockPool
    clock: Callable[[], float]
    plan: Planner = plan
    lower: Lower = lower


@default_float_mode()
def prepare(verified: VerifiedProgram, machine: Machine) -> tuple[Layout, Code]:
    """Layout and code of a program (Note [Stored layout])."""
    key = _key(verified, machine)
    stored = machine.objects.get(key) if key else None
    if stored is not None:
        layout, groups = unpack(stored)
        code = find_code(groups, machine.target, machine.objects)
        if code is not None:
            return layout, code
    steps = lower_plan(
        machine.plan(keep_refusals(expand(verified, is_expanded))),
        machine.target,
        machine.threads,
        machine.lower,
    )
    kernels = {each.kernel.symbol: each.kernel for each in steps.launches}
    code = load_kernels(kernels.values(), machine.target, machine.objects)
    layout = lay_out(steps)
    content = pack(layout, code.groups) if key else None
    if content is not None:
        machine.objects.put(key, content)
    return layout, code


def _key(verified: VerifiedProgram, machine: Machine) -> str:
    """Hash of everything that decides a layout; empty for a planner that is not this backend's."""
    if machine.plan is not plan or machine.lower is not lower:
        return ""
    program = hashlib.sha256(encode_program(verified.program)).hexdigest()
    parts = (_FORMAT, writers(), program, str(machine.threads))
    return object_key("\n".join(parts), machine.target, 0)
