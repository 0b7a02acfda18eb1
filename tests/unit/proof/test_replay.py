"""A replay agrees with an honest trace from anywhere, and names the first checkpoint that lies."""

from dataclasses import replace

import pytest
from tests.unit.proof.small_run import training

from bcai.base.errors import InputError
from bcai.proof.execute import execute
from bcai.proof.recorder import Checkpoint, Trace
from bcai.proof.replay import Replayed, replay
from bcai.vm.backends.native.backend import NativeBackend

SMALL = training()
TRACE = SMALL.trace()
STATES = [SMALL.state] + [
    each.state for each in execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)
]


def again(trace: Trace, first: int = 0, stop: int | None = None) -> Replayed:
    state = STATES[trace.checkpoints[first - 1].step if first else 0]
    return replay(
        SMALL.feeder(), SMALL.program, SMALL.compiled(), trace, state, first=first, stop=stop
    )


@pytest.mark.parametrize("first", [0, 1, 2])
def test_an_honest_trace_agrees_from_every_checkpoint(first: int) -> None:
    found = again(TRACE, first)
    assert found.difference is None
    assert found.compared == 3 - first
    assert (found.state["w1"] == STATES[-1]["w1"]).all()


def test_another_backend_agrees_and_tells_how_far_it_is() -> None:
    told: list[int] = []
    executable = NativeBackend(threads=1).compile(SMALL.program)
    found = replay(
        SMALL.feeder(), SMALL.program, executable, TRACE, SMALL.state, progress=told.append
    )
    assert found.difference is None
    assert told == list(range(1, 13))


def lying(**changes: bytes) -> Trace:
    one, two, three = TRACE.checkpoints
    changed: Checkpoint = replace(two, **changes)
    return Trace((one, changed, three))


@pytest.mark.parametrize(
    ("field", "part"), [("state", "state"), ("outputs", "outputs"), ("indices", "rows")]
)
def test_the_first_difference_is_named(field: str, part: str) -> None:
    found = again(lying(**{field: bytes(32)}))
    assert found.difference is not None
    assert found.difference.checkpoint == 1
    assert found.difference.steps == range(5, 10)
    assert found.difference.parts == (part,)
    assert again(lying(**{field: bytes(32)}), stop=1).difference is None


def test_a_state_that_does_not_belong_is_refused() -> None:
    with pytest.raises(InputError, match="state: its root is"):
        replay(SMALL.feeder(), SMALL.program, SMALL.compiled(), TRACE, STATES[3], first=1)
    with pytest.raises(InputError, match="first: found 3, expected 0 to 2"):
        replay(SMALL.feeder(), SMALL.program, SMALL.compiled(), TRACE, STATES[0], first=3)
    with pytest.raises(InputError, match="found 1 checkpoints, the run has 3"):
        again(Trace(TRACE.checkpoints[:1]))
