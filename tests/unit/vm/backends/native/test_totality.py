"""Every instruction has native code, in every element type; none hides what it would refuse."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.conformance.vm.instruction_cases import REFERENCE, build, of_every_dtype, open_program

from bcai.base.errors import InputError
from bcai.vm.backends.native.elementwise import supports
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.native.steps import is_expanded, lower_plan
from bcai.vm.backends.native.target import AVX512, SSE, Target
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import OpTask
from bcai.vm.compiler.plan_program import make_plan
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.types import Array, DType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.program import VerifiedProgram

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


def unused(op: Op, case: Case) -> VerifiedProgram:
    """A call whose results are nobody's."""
    builder, operands = open_program(case)
    builder.emit(op.name, operands, case.attributes)
    return builder.finish(y=builder.constant(np.zeros(1, np.float32)))


def whole_numbers(program: VerifiedProgram) -> Iterator[dict[str, Array]]:
    """Ones, but every whole number the largest there is, the smallest, or 0."""
    for chosen in ("max", "min", "zero"):
        values: dict[str, Array] = {}
        for port in program.program.ports:
            dtype, value = port.type.dtype, 1
            if not dtype.is_float and dtype is not DType.bool:
                value = 0 if chosen == "zero" else getattr(np.iinfo(dtype.numpy), chosen)
            values[port.name] = np.full(port.type.shape, value, dtype.numpy)
        yield values


def refuses(program: VerifiedProgram) -> bool:
    for values in whole_numbers(program):
        try:
            REFERENCE.run(program, values)
        except InputError:
            return True
    return False


def test_what_may_be_refused_is_computed_though_nobody_uses_it() -> None:
    refusing: set[str] = set()
    dropped: set[str] = set()
    for op in LATEST.by_name.values():
        for accepted in () if op.name == FOREIGN else op.type_rule.accepts:
            for case in of_every_dtype(op, accepted):
                program = unused(op, case)
                if refuses(program):
                    refusing.add(op.name)
                    kept = keep_refusals(expand(program, is_expanded))
                    if len(kept.program.outputs) == 1:
                        dropped.add(op.name)
    assert {"Div", "Gather", "MaxPoolGrad", "Nll", "Uniform"} <= refusing
    assert not dropped
