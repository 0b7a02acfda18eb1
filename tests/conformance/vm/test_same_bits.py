"""Every machine computes the bits of the golden file, however the work is cut.

`pytest tests/conformance/vm/test_same_bits.py -k "neon and exp"` runs some of it. To renew the
file: `python -m tests.conformance.vm.golden`. See docs/reference/same_bits.md.
"""

import numpy as np
import pytest
from tests.conformance.vm.golden.case import Case, digest
from tests.conformance.vm.golden.corpus import cases
from tests.conformance.vm.golden.emulator import emulation_missing
from tests.conformance.vm.golden.laid import Laid
from tests.conformance.vm.golden.machines import targets_here
from tests.conformance.vm.golden.vectors import golden
from tests.conformance.vm.instruction_cases import OPS, REFERENCE, build, draws

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.native.target import NEON, TARGETS, Target
from bcai.vm.isa.op import Op

EVERY = [
    pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.is_long else [])
    for each in cases()
]
SHORTEST_TRAINING = "train.lstm"


@pytest.fixture(params=TARGETS.values(), ids=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    """A target whose code runs here, on the processor or emulated."""
    chosen: Target = request.param
    if chosen not in targets_here():
        reason = emulation_missing() if chosen is NEON else "another processor has it"
        if reason:
            pytest.skip(f"no {chosen.name} here: {reason}")
    return chosen


def test_the_golden_file_has_every_case() -> None:
    names = [case.name for case in cases()]
    assert sorted(names) == sorted(set(names))
    assert sorted(golden()) == sorted(names), "to renew: python -m tests.conformance.vm.golden"


@pytest.mark.parametrize("case", EVERY)
def test_a_target_has_the_golden_bits(case: Case, target: Target) -> None:
    for way, results in case.compute(target):
        assert digest(results) == golden()[case.name], way


@pytest.mark.parametrize("case", EVERY)
def test_the_definition_has_the_golden_bits(case: Case) -> None:
    assert digest(case.define()) == golden()[case.name]


@pytest.mark.skipif(not targets_here(), reason="no code for this processor; x86-64 or AArch64 has")
def test_a_training_run_here_has_the_golden_bits() -> None:
    (case,) = (each for each in cases() if each.name == SHORTEST_TRAINING)
    _, results = next(case.compute(targets_here()[0]))
    assert digest(results) == golden()[case.name]


@pytest.mark.slow
@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in OPS])
def test_an_instruction_on_aarch64_has_the_defined_bits(op: Op) -> None:
    if reason := emulation_missing():
        pytest.skip(f"no neon here: {reason}")
    calls = [build(op, case) for case in op.type_rule.accepts]
    for call in calls:
        for values in draws(call.case):
            try:
                expected = REFERENCE.run(call.program, values)
            except (InputError, RefusedError):
                continue  # these operands are at fault, or it runs Python code
            found = Laid(call.program, NEON, 1).run(values)
            for name, array in expected.items():
                assert found[name].tobytes() == array.tobytes(), (call.case, name)
            break


def test_a_digest_sees_every_bit_but_those_of_not_a_number() -> None:
    values = np.array([0.0, 1.0, np.nan], np.float32)
    changed = values.copy()
    changed.view(np.uint32)[2] ^= 1
    assert digest([values]) == digest([changed])
    changed.view(np.uint32)[0] ^= 1 << 31
    assert digest([values]) != digest([changed])
