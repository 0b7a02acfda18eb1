"""Random programs have the same bits on the native backend as by the definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vm.compiler.test_plan_random import LINES, Line, values_of, write

from bcai.vm.backends.native.backend import NativeBackend, what_is_missing
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())
REFERENCE = ReferenceInterpreter()
FEW, MANY = 25, 600


def check(lines: list[Line], with_gradients: bool, threads: int, cache: Path) -> None:
    program = write(lines, with_gradients)
    values = values_of(program)
    expected = REFERENCE.run(program, values)
    found = NativeBackend(threads=threads, cache=cache).compile(program).run(values)
    for name, array in expected.items():
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@settings(max_examples=FEW, deadline=None)
@given(LINES, st.booleans(), st.sampled_from((1, 2)))
def test_a_few(cache: Path, lines: list[Line], with_gradients: bool, threads: int) -> None:
    check(lines, with_gradients, threads, cache)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=MANY, deadline=None)
@given(LINES, st.booleans(), st.sampled_from((1, 2)))
def test_many(cache: Path, lines: list[Line], with_gradients: bool, threads: int) -> None:
    check(lines, with_gradients, threads, cache)
