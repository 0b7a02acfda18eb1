"""Every instruction has native code, in every element type."""

from collections.abc import Iterator

import pytest
from tests.conformance.vm.instruction_cases import build, of_every_dtype

from bcai.vm.backends.native.elementwise import supports
from bcai.vm.backends.native.steps import is_expanded, lower_plan
from bcai.vm.backends.native.target import AVX512, SSE, Target
from bcai.vm.compiler.plan import OpTask
from bcai.vm.compiler.plan_program import make_plan
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import DType
from bcai.vm.isa.versions import LATEST

FOREIGN = "PythonExecute"
"""It runs in a sandbox, whatever the backend."""


def types_by_definition(op: Op, target: Target) -> Iterator[str]:
    """The element type of every case that is not native as a whole.

    Cases without a single element to compute are left out: only their operands' faults matter.
    """
    for accepted in op.type_rule.accepts:
        for case in of_every_dtype(op, accepted):
            call = build(op, case)
            if not any(each.elements for each in call.results):
                continue
            plan = make_plan(call.program, elementwise=supports, expanded=is_expanded)
            steps = lower_plan(plan, target, threads=2)
            if any(isinstance(each, OpTask) for each in steps.steps):
                named = (each for each in case.attributes.values() if isinstance(each, DType))
                present = (each.dtype for each in case.operands if each is not None)
                yield next(iter((*present, *named))).name


@pytest.mark.parametrize("target", [AVX512, SSE], ids=lambda target: target.name)
def test_nothing_runs_by_its_definition(target: Target) -> None:
    found: dict[str, set[str]] = {}
    for op in LATEST.by_name.values():
        if is_expanded(op) or op.name == FOREIGN:
            continue
        if types := set(types_by_definition(op, target)):
            found[op.name] = types
    assert not found
