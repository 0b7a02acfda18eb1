"""Cheats, each carried out by a node that controls all that it hands over: none is accepted.

A client accepts what checks clean under its own order and keys, and replays. The control is at the
top: honest work is accepted, on another backend too. What cannot be seen in the bits is said at the
end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from blake3 import blake3
from tests.unit.proof.liars import WrongExecutable
from tests.unit.proof.small_run import (
    NODE,
    OTHER_NODE,
    PLACE,
    ROWS,
    Training,
    training,
)

from bcai.proof.bisection import Case, Verdict
from bcai.proof.check import check_receipt
from bcai.proof.commitment import sign_commitment
from bcai.proof.data import Data
from bcai.proof.execute import Step, execute
from bcai.proof.feed import Feeder, indices, indices_digest
from bcai.proof.issue import issue_receipt
from bcai.proof.messages import Side, StepRoots
from bcai.proof.receipt import Receipt, decode_receipt, encode_receipt
from bcai.proof.recorder import Checkpoint, Recorder, Trace, fixed_parameters
from bcai.proof.replay import replay
from bcai.proof.schedule import Knot
from bcai.proof.settle import settle
from bcai.proof.side import ReplayingSide
from bcai.proof.state import tensors_root
from bcai.proof.step_trace import LastLeaf, StepTrace
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.isa.types import Array

SMALL = training()
HONEST = SMALL.receipt()
STEPS = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
State = Mapping[str, Array]


def findings(receipt: Receipt) -> list[str]:
    report = check_receipt(
        decode_receipt(encode_receipt(receipt)), node=NODE.public, run=SMALL.run.digest
    )
    return [each.name for each in report.findings]


def accepted(receipt: Receipt) -> bool:
    """What a client does who takes nobody's word."""
    if findings(receipt):
        return False
    feeder = SMALL.feeder()
    done = replay(feeder, SMALL.program, SMALL.compiled(), receipt.trace, SMALL.state)
    return done.difference is None


def handed_in(steps: Sequence[Step], *, run: Training = SMALL) -> Receipt:
    """A receipt that fits together, over whatever steps a cheat says it made."""
    recorder = Recorder(run.run, fixed=fixed_parameters(run.program))
    for step in steps:
        recorder.record(*step)
    return issue_receipt(
        run.run, run.program, recorder.finish(), state=steps[-1].state, outputs=steps[-1].outputs,
        output_roots=recorder.output_roots, circumstances=PLACE, key=NODE,
    )  # fmt: skip


def test_honest_work_is_accepted() -> None:
    assert accepted(HONEST)
    assert accepted(handed_in(STEPS))
    assert accepted(SMALL.receipt(executable=NativeBackend(threads=1).compile(SMALL.program)))


# Cheats at the work itself.


def _one_bit_of_a_gradient() -> list[Step]:
    products = [
        number
        for number, each in enumerate(SMALL.program.program.instructions)
        if each.op.name == "MatMul"
    ]
    wrong = WrongExecutable(SMALL.program, 7, products[-1])
    return [*execute(SMALL.feeder(), SMALL.program, wrong, SMALL.state)]


def _a_step_left_out() -> list[Step]:
    """Step 6 keeps the state of step 5; the rest goes on from there."""
    steps = STEPS[:6]
    steps.append(steps[-1]._replace(done=7))
    return [*steps, *_go_on(steps[-1].state, 7)]


def _go_on(state: State, start: int, feeder: Feeder | None = None) -> Iterator[Step]:
    given = feeder or SMALL.feeder()
    yield from execute(given, SMALL.program, SMALL.compiled(), state, start=start)


class _OtherRows(Feeder):
    """Feeds rows that it likes better."""

    def __init__(self, rows: Callable[[int, Array], Array]) -> None:
        super().__init__(SMALL.run, SMALL.program, SMALL.data)
        self.rows = rows

    def inputs(self, step: int) -> dict[str, Array]:
        from bcai.proof.feed import indices

        values = super().inputs(step)
        rows = self.rows(step, indices(self.run, step))
        columns = SMALL.data.columns
        return values | {"x": columns["features"][rows], "target": columns["label"][rows]}


def _half_of_the_data() -> list[Step]:
    return [*_go_on(SMALL.state, 0, _OtherRows(lambda step, rows: rows % (ROWS // 2)))]


def _two_batches_swapped() -> list[Step]:
    from bcai.proof.feed import indices

    other = {6: 7, 7: 6}
    feeder = _OtherRows(lambda step, rows: indices(SMALL.run, other.get(step, step)))
    return [*_go_on(SMALL.state, 0, feeder)]


def _an_older_state() -> list[Step]:
    """The state after 5 steps is handed in again as that after 10, and trained on."""
    steps = [*STEPS[:9], STEPS[9]._replace(state=STEPS[4].state)]
    return [*steps, *_go_on(STEPS[4].state, 10)]


def _another_seed() -> list[Step]:
    """Dropout draws from a seed that gave a better model; the rows are those of the order."""

    class Seeded(Feeder):
        def inputs(self, step: int) -> dict[str, Array]:
            return super().inputs(step) | {"seed": np.asarray(1, np.int64)}

    return [*_go_on(SMALL.state, 0, Seeded(SMALL.run, SMALL.program, SMALL.data))]


def _better_losses() -> list[Step]:
    return [
        step._replace(outputs=step.outputs | {"loss": step.outputs["loss"] * np.float32(0.5)})
        for step in STEPS
    ]


def _nothing_at_all() -> list[Step]:
    return [Step(done, dict(SMALL.state), STEPS[0].outputs) for done in range(1, 13)]


CHEATS: dict[str, Callable[[], list[Step]]] = {
    "one bit of one gradient": _one_bit_of_a_gradient,
    "a step left out": _a_step_left_out,
    "half of the data": _half_of_the_data,
    "two batches swapped": _two_batches_swapped,
    "an older state again": _an_older_state,
    "another seed": _another_seed,
    "better losses": _better_losses,
    "nothing at all": _nothing_at_all,
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_at_the_work_is_accepted(name: str) -> None:
    """The receipt fits together, so the check alone lets it pass: replay does not."""
    receipt = handed_in(CHEATS[name]())
    assert findings(receipt) == []
    assert not accepted(receipt)


class Claiming(ReplayingSide):
    """The best defence of a cheat: it stands by its states, and bends the step's trace to them."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        trace = handed_in(steps).trace
        states: dict[int, State] = {0: SMALL.state, **{each.done: each.state for each in steps}}
        super().__init__(SMALL.program, SMALL.feeder(), SMALL.compiled(), trace, states)

    def step_roots(self, checkpoint: int) -> StepRoots:
        mine = [self.steps[step] for step in SMALL.run.span(checkpoint)]
        return StepRoots(
            tuple(tensors_root(each.state) for each in mine),
            tuple(tensors_root(each.outputs) for each in mine),
        )

    def step(self, step: int) -> StepTrace:
        true = super().step(step)
        mine = self.steps[step]
        last = LastLeaf(tensors_root(mine.state), tensors_root(mine.outputs))
        return StepTrace((*true.leaves[:-1], last))


@pytest.mark.parametrize("name", CHEATS)
def test_every_cheat_loses_its_dispute(name: str) -> None:
    steps = CHEATS[name]()
    cheat = Claiming(steps)
    honest = ReplayingSide(
        SMALL.program, SMALL.feeder(), SMALL.compiled(), HONEST.trace, {0: SMALL.state}
    )
    heads = {Side.A: HONEST.trace.head, Side.B: handed_in(steps).trace.head}
    case = Case(SMALL.run, SMALL.program, heads)
    verdict: Verdict = settle(case, {Side.A: honest, Side.B: cheat}, lambda: 0.0).verdict
    assert verdict.faulty == {Side.B}
    first = next(
        n
        for n, (mine, true) in enumerate(zip(steps, STEPS, strict=True))
        if tensors_root(mine.state) != tensors_root(true.state)
        or tensors_root(mine.outputs) != tensors_root(true.outputs)
    )
    assert verdict.where.step == first


# Cheats with papers.


def _resigned(receipt: Receipt, **changes: object) -> Receipt:
    commitment = replace(receipt.commitment, **changes)
    return replace(receipt, commitment=commitment, signature=sign_commitment(commitment, NODE))


def _with_rows(digest: Callable[[int], bytes]) -> Receipt:
    """A trace that owns up to the rows it took."""
    points = tuple(replace(each, indices=digest(n)) for n, each in enumerate(HONEST.checkpoints))
    return _resigned(replace(HONEST, checkpoints=points), trace=Trace(points).head)


def _backwards(checkpoint: int) -> bytes:
    steps = reversed(SMALL.run.span(checkpoint))
    return blake3(b"".join(indices(SMALL.run, step).tobytes() for step in steps)).digest()


def _truncated(count: int) -> Receipt:
    points: tuple[Checkpoint, ...] = HONEST.checkpoints[:count]
    changed = replace(HONEST, checkpoints=points)
    return _resigned(changed, trace=Trace(points).head, final_state=points[-1].state)


def _other_run(**changes: object) -> Receipt:
    return SMALL.with_run(**changes).receipt()


def _other_data() -> Receipt:
    half = Data({name: column[: ROWS // 2] for name, column in SMALL.data.columns.items()})
    feed = replace(SMALL.run.feed, data_root=half.root, rows=half.rows)
    return replace(SMALL, data=half, run=replace(SMALL.run, feed=feed)).receipt()


PAPERS: dict[str, tuple[Callable[[], Receipt], str]] = {
    "another's receipt under one's own name": (
        lambda: replace(
            SMALL.receipt(OTHER_NODE),
            commitment=replace(SMALL.receipt(OTHER_NODE).commitment, node=NODE.public),
        ),
        "signature.commitment",
    ),
    "another's receipt as it is": (lambda: SMALL.receipt(OTHER_NODE), "node.key"),
    "another's trace for this run": (
        lambda: replace(_other_run(seed=1), run=SMALL.run),
        "run.digest",
    ),
    "another's trace, signed for this run": (
        lambda: _resigned(replace(_other_run(seed=1), run=SMALL.run), run=SMALL.run.digest),
        "trace.rows",
    ),
    "another seed, honestly run": (lambda: _other_run(seed=1), "run.other"),
    "fewer steps, honestly run": (lambda: _other_run(steps=6), "run.other"),
    "half of the data, honestly run": (_other_data, "run.other"),
    "a trace cut short": (lambda: _truncated(2), "trace.count"),
    "rows of another seed, owned up to": (
        lambda: _with_rows(lambda n: indices_digest(replace(SMALL.run, seed=1), SMALL.run.span(n))),
        "trace.rows",
    ),
    "two batches swapped, owned up to": (
        lambda: _with_rows(_backwards),
        "trace.rows",
    ),
    "a jail that is written in afterwards": (
        lambda: replace(HONEST, commitment=replace(HONEST.commitment, jail_level="level A")),
        "signature.commitment",
    ),
}


@pytest.mark.parametrize("name", PAPERS)
def test_no_cheat_with_papers_is_accepted(name: str) -> None:
    receipt, finding = PAPERS[name][0](), PAPERS[name][1]
    assert finding in findings(receipt)
    assert not accepted(receipt)


# The forgeries of arXiv:2208.03567 ("Proof-of-Learning is currently more broken than you think").


@dataclass(frozen=True)
class DistanceVerifier:
    """Proof-of-Learning (arXiv:2103.05633): a step passes if it ends near where it should.

    It replays single steps from the states that it was handed, and accepts what is no further from
    its own result than `tolerance`; with `top`, only the largest updates are replayed.
    """

    tolerance: float
    top: int | None = None

    def accepts(self, of: Training, states: Sequence[State]) -> bool:
        gaps = [_distance(one, two) for one, two in pairwise(states)]
        places = sorted(range(len(gaps)), key=lambda place: -gaps[place])[: self.top]
        return all(
            _distance(_one_step(of, states[place], place), states[place + 1]) <= self.tolerance
            for place in places
        )


def _one_step(of: Training, state: State, step: int) -> State:
    compiled = of.compiled()
    done = execute(of.feeder(), of.program, compiled, state, start=step, stop=step + 1)
    return next(done).state


def _distance(one: State, two: State) -> float:
    return float(max(np.abs(one[name] - two[name]).max() for name in ("w1", "w2")))


def _stolen() -> State:
    """A model that the forger did not train: where another run ended."""
    other = SMALL.with_run(seed=3)
    *_, last = execute(other.feeder(), other.program, other.compiled(), other.state)
    return last.state


def _infinitesimal() -> tuple[Training, DistanceVerifier, list[State]]:
    """Straight from the first state to the stolen one, in steps that are small because the forger
    chose a rate of nearly nothing: each replayed step ends where it began, which is near enough.
    """
    steps = 100
    of = SMALL.with_run(steps=steps, schedules={"learning_rate": (Knot(0, 1e-7),)})
    final = _stolen()
    verifier = DistanceVerifier(1.1 * _distance(SMALL.state, final) / steps + 1e-6)
    states: list[State] = [SMALL.state]
    for n in range(1, steps + 1):
        between = {
            name: SMALL.state[name] + (final[name] - SMALL.state[name]) * np.float32(n / steps)
            for name in ("w1", "w2")
        }
        states.append({**final, **between})
    return of, verifier, states


def _only_the_largest() -> tuple[Training, DistanceVerifier, list[State]]:
    """One honest step, and the rest of the way in smaller ones, which nobody looks at."""
    first = STEPS[0].state
    states: list[State] = [SMALL.state]
    for n in range(12):
        little = {name: first[name] * np.float32(1 + 1e-4 * n) for name in ("w1", "w2")}
        states.append({**first, **little})
    return SMALL, DistanceVerifier(tolerance=0.0, top=1), states


def _optimised() -> tuple[Training, DistanceVerifier, list[State]]:
    """Honest steps, each pulled as far to the stolen end as the tolerance allows."""
    verifier, final = DistanceVerifier(tolerance=0.05), _stolen()
    states: list[State] = [SMALL.state]
    for step in range(12):
        true = _one_step(SMALL, states[-1], step)
        far = {name: final[name] - true[name] for name in ("w1", "w2")}
        pulled = {
            name: true[name] + np.clip(each, -0.049, 0.049).astype(np.float32)
            for name, each in far.items()
        }
        states.append({**true, **pulled})
    return SMALL, verifier, states


FORGERIES = {
    "infinitesimal updates": _infinitesimal,
    "only the largest updates are looked at": _only_the_largest,
    "optimised within the tolerance": _optimised,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_proofs_of_learning_pass_there_and_not_here(name: str) -> None:
    of, verifier, states = FORGERIES[name]()
    assert verifier.accepts(of, states)  # the control: it works where distance is the measure
    steps = [Step(n, dict(state), STEPS[0].outputs) for n, state in enumerate(states) if n]
    receipt = handed_in(steps, run=of)
    assert findings(receipt) == ([] if of is SMALL else ["run.other"])
    done = replay(of.feeder(), of.program, of.compiled(), receipt.trace, of.state)
    assert done.difference is not None
    assert done.difference.checkpoint == 0
    assert "state" in done.difference.parts


# What no check of bits can tell.


def test_a_jail_that_the_node_lies_about_is_its_word_and_the_report_says_so() -> None:
    """Its signature holds it to the claim; nothing in a trace can show in what jail it ran."""
    receipt = _resigned(HONEST, jail_level="full", jail_layers=("everything",))
    report = check_receipt(receipt, node=NODE.public)
    assert report.is_clean
    assert any("the jail" in each and "node's word" in each for each in report.unchecked)


def test_the_same_run_has_the_same_trace_whoever_makes_it() -> None:
    """So a node can sign for equal work of another: the order, not the trace, says who is paid."""
    assert SMALL.receipt(OTHER_NODE).commitment.trace == HONEST.commitment.trace
