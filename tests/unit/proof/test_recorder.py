"""A trace has a checkpoint every K steps, goes on from any of them, and hides nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3
from tests.unit.proof.small_run import EVERY, STEPS, training

from bcai.base.errors import InputError
from bcai.proof.execute import begin, check_state, execute
from bcai.proof.feed import indices_digest
from bcai.proof.recorder import Recorder, Trace
from bcai.proof.state import tensors_root

SMALL = training()
TRACE = SMALL.trace()
GOLDEN = "f92888cb5ac5a2e2eb0fd19868469bff33e46da2a5ec3377d92c6efd99302e65"


def test_golden_root() -> None:
    assert TRACE.head.digest.hex() == GOLDEN


def test_checkpoints_are_what_the_module_says() -> None:
    states = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    assert [each.step for each in TRACE.checkpoints] == [5, 10, 12]
    for index, found in enumerate(TRACE.checkpoints):
        span = SMALL.run.span(index)
        assert found.state == tensors_root(states[span.stop - 1].state)
        assert found.indices == indices_digest(SMALL.run, span)
        roots = [tensors_root(states[step].outputs) for step in span]
        assert found.outputs == blake3(b"".join(roots)).digest()
        assert set(states[0].outputs) == {"loss", "scaled"}
    assert TRACE.final_state == tensors_root(states[-1].state)


def test_hashing_beside_the_steps_gives_the_same_trace() -> None:
    with ThreadPoolExecutor(1) as executor:
        recorder = Recorder(SMALL.run, executor=executor)
        for step in execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state):
            recorder.record(*step)
        assert recorder.finish() == TRACE


def test_a_run_goes_on_from_any_checkpoint() -> None:
    states = [SMALL.state]
    states += [
        step.state for step in execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)
    ]
    for done in range(SMALL.run.checkpoints):
        prefix = TRACE.checkpoints[:done]
        start = prefix[-1].step if prefix else 0
        recorder = Recorder(SMALL.run, prefix=prefix)
        compiled = SMALL.compiled()
        for step in execute(SMALL.feeder(), SMALL.program, compiled, states[start], start=start):
            recorder.record(*step)
        assert recorder.finish() == TRACE


@pytest.mark.parametrize("held", [1, 9, 16, 1 << 16])
def test_the_trace_is_the_same_however_many_outputs_are_hashed_together(
    monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("bcai.proof.recorder.WAITING_BYTES", held)
    assert SMALL.trace() == TRACE


def test_no_step_is_left_out() -> None:
    recorder = Recorder(SMALL.run)
    recorder.record(1, SMALL.state, {})
    with pytest.raises(InputError, match="step: found 3, expected 2 of 12"):
        recorder.record(3, SMALL.state, {})
    with pytest.raises(InputError, match="the run has 12 steps, 1 were recorded"):
        recorder.finish()
    with pytest.raises(InputError, match="checkpoint 0 is after step 10"):
        Recorder(SMALL.run, prefix=TRACE.checkpoints[1:])


def test_every_part_of_a_checkpoint_is_in_the_root() -> None:
    first, *rest = TRACE.checkpoints
    other = bytes(32)
    changed = [
        Trace((replace(first, step=4), *rest)),
        Trace((replace(first, state=other), *rest)),
        Trace((replace(first, indices=other), *rest)),
        Trace((replace(first, outputs=other), *rest)),
        Trace((first, *rest[:-1])),
        Trace((*rest, first)),
    ]
    assert len({each.head.digest for each in [TRACE, *changed]}) == len(changed) + 1


def test_the_number_of_steps_to_a_checkpoint_is_the_runs() -> None:
    assert SMALL.with_run(checkpoint_every=STEPS).trace().checkpoints[-1].state == TRACE.final_state
    assert len(SMALL.with_run(checkpoint_every=1).trace().checkpoints) == STEPS
    assert len(TRACE.checkpoints) == -(-STEPS // EVERY)


def test_a_state_that_is_not_the_first_one_is_refused() -> None:
    moved = {**SMALL.state, "w1": SMALL.state["w1"] + np.float32(1)}
    with pytest.raises(InputError, match="state: its root is"):
        begin(SMALL.run, SMALL.program, moved)
    with pytest.raises(InputError, match="parameter 'w1' is missing"):
        check_state(SMALL.program, {k: v for k, v in SMALL.state.items() if k != "w1"})
    with pytest.raises(InputError, match=r"'w1' is float32\[6,5\], expected float32\[5,6\]"):
        check_state(SMALL.program, {**SMALL.state, "w1": SMALL.state["w1"].T})
