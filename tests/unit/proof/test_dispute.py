"""Two traces that disagree: the dispute ends at the one leaf that lies, and names who told it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.proof.liars import WrongExecutable, flip_bit
from tests.unit.proof.small_run import STEPS, training

from bcai.base.errors import InputError
from bcai.base.merkle import Tree
from bcai.proof.bisection import Answer, Case, Tick, advance
from bcai.proof.messages import (
    Answerer,
    AskEvidence,
    AskStep,
    AskSteps,
    CheckpointPair,
    EndEvidence,
    Nodes,
    OperandEvidence,
    Reply,
    Request,
    RowsEvidence,
    Side,
    StepRoots,
    TensorEvidence,
)
from bcai.proof.recorder import Trace
from bcai.proof.settle import Settled, settle
from bcai.proof.side import ReplayingSide
from bcai.proof.stages import begin_dispute
from bcai.proof.state import content_hash
from bcai.proof.step_trace import (
    LastLeaf,
    Leaf,
    OutputLeaf,
    PortLeaf,
    StepLayout,
    StepTrace,
    end_of_step,
)
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.backend import Executable

SMALL = training()
LAYOUT = StepLayout(SMALL.program)
HONEST = SMALL.trace()
COUNT = len(SMALL.program.program.instructions)


def side(trace: Trace, executable: Executable | None = None) -> ReplayingSide:
    compiled = executable or SMALL.compiled()
    return ReplayingSide(SMALL.program, SMALL.feeder(), compiled, trace, {0: SMALL.state})


def held(liar: Answerer, lie: Trace, *, first: bool = False) -> Settled:
    """The honest side against a liar, who may be the first of the two."""
    sides = {Side.A: side(HONEST), Side.B: liar}
    heads = {Side.A: HONEST.head, Side.B: lie.head}
    if first:
        sides = {Side.A: sides[Side.B], Side.B: sides[Side.A]}
        heads = {Side.A: heads[Side.B], Side.B: heads[Side.A]}
    return settle(Case(SMALL.run, SMALL.program, heads), sides, lambda: 0.0)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("step", [0, 4, 5, 11])
def test_one_wrong_bit_is_found_where_it_was_made(step: int, first: bool) -> None:
    gradients = [
        position
        for position, each in enumerate(SMALL.program.program.instructions)
        if each.op.name == "MatMul"
    ]
    position = gradients[-1]
    wrong = WrongExecutable(SMALL.program, step, position)
    lie = SMALL.trace(wrong)
    found = held(side(lie, wrong), lie, first=first)
    where = found.verdict.where
    assert (where.checkpoint, where.step, where.leaf) == (
        step // 5, step, LAYOUT.first_instruction + position
    )  # fmt: skip
    assert found.verdict.faulty == {Side.A if first else Side.B}
    assert found.verdict.place == f"instruction {position} (MatMul)"
    assert {each.code for each in found.verdict.lies.values()} == {"result"}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, STEPS - 1), st.integers(0, COUNT - 1))
def test_every_wrong_instruction_is_found(step: int, position: int) -> None:
    wrong = WrongExecutable(SMALL.program, step, position)
    lie = SMALL.trace(wrong)
    if lie == HONEST:
        return  # nothing that is kept depends on it
    found = held(side(lie, wrong), lie)
    assert (found.verdict.faulty, found.verdict.where.step) == ({Side.B}, step)
    assert found.verdict.where.leaf == LAYOUT.first_instruction + position


def test_both_can_lie() -> None:
    position = next(
        p for p, each in enumerate(SMALL.program.program.instructions) if each.op.name == "MatMul"
    )
    one = WrongExecutable(SMALL.program, 3, position)
    two = WrongExecutable(SMALL.program, 3, position, lambda x: flip_bit(flip_bit(x) * 2))
    traces = {Side.A: SMALL.trace(one), Side.B: SMALL.trace(two)}
    case = Case(SMALL.run, SMALL.program, {each: trace.head for each, trace in traces.items()})
    sides = {Side.A: side(traces[Side.A], one), Side.B: side(traces[Side.B], two)}
    assert settle(case, sides, lambda: 0.0).verdict.faulty == {Side.A, Side.B}


def test_sides_of_different_backends_are_judged_alike() -> None:
    wrong = WrongExecutable(SMALL.program, 7, COUNT - 1)
    lie = SMALL.trace(wrong)
    native = NativeBackend(threads=1).compile(SMALL.program)
    heads = {Side.A: HONEST.head, Side.B: lie.head}
    sides = {Side.A: side(HONEST, native), Side.B: side(lie, wrong)}
    found = settle(Case(SMALL.run, SMALL.program, heads), sides, lambda: 0.0)
    assert (found.verdict.faulty, found.verdict.where.step) == ({Side.B}, 7)


def test_equal_traces_are_no_dispute() -> None:
    with pytest.raises(InputError, match="nothing to dispute"):
        Case(SMALL.run, SMALL.program, dict.fromkeys(Side, HONEST.head))
    short = Trace(HONEST.checkpoints[:-1])
    with pytest.raises(InputError, match="trace B: 2 checkpoints, the run has 3"):
        Case(SMALL.run, SMALL.program, {Side.A: HONEST.head, Side.B: short.head})


# Lies about one leaf of step 0: its claims are made to fit, and its trace is as it likes.


class Forger(ReplayingSide):
    """Is honest but for one step's trace, which it has made up, with all that follows from it."""

    def __init__(self, step: int, leaves: Sequence[Leaf]) -> None:
        self.forged = StepTrace(tuple(leaves))
        self.wrong = step
        self.lie, self.roots = _consistent(step, self.forged)
        super().__init__(
            SMALL.program, SMALL.feeder(), SMALL.compiled(), self.lie, {0: SMALL.state}
        )

    def step(self, step: int) -> StepTrace:
        return self.forged if step == self.wrong else super().step(step)

    def step_roots(self, checkpoint: int) -> StepRoots:
        return self.roots if checkpoint == 0 else super().step_roots(checkpoint)


def _consistent(step: int, forged: StepTrace) -> tuple[Trace, StepRoots]:
    """A trace whose first checkpoint has a step that ends where a forged one does."""
    honest = side(HONEST).step_roots(0)
    last = forged.leaves[-1]
    assert isinstance(last, LastLeaf)
    states, outputs = list(honest.states), list(honest.outputs)
    states[step], outputs[step] = last.state, last.outputs
    first, *rest = HONEST.checkpoints
    changed = replace(first, state=states[-1], outputs=blake3(b"".join(outputs)).digest())
    return Trace((changed, *rest)), StepRoots(tuple(states), tuple(outputs))


STEP = 4  # the last of the first checkpoint
TRUE = side(HONEST).step(STEP)
OTHER = bytes(32)


def forge(index: int, leaf: Leaf) -> list[Leaf]:
    """Change a leaf, and the last one, so that there is something to dispute."""
    leaves = list(TRUE.leaves)
    leaves[index] = leaf
    if index < LAYOUT.last:
        leaves[-1] = LastLeaf(OTHER, OTHER)
    return leaves


def _port(name: str) -> int:
    return next(n for n, port in enumerate(LAYOUT.ports) if port.name == name)


def _leaf(index: int) -> Any:
    return TRUE.leaves[index]


FIRST = LAYOUT.first_instruction
MANY = next(
    FIRST + n
    for n, each in enumerate(SMALL.program.program.instructions)
    if sum(operand is not None for operand in each.operands) >= 2
)
OUT = LAYOUT.first_output
FORGED: dict[str, tuple[int, Leaf]] = {
    "port.rows": (_port("x"), PortLeaf(_port("x"), OTHER)),
    "port.state": (_port("w1"), PortLeaf(_port("w1"), OTHER)),
    "port.seed": (_port("seed"), PortLeaf(_port("seed"), content_hash(np.asarray(5, np.int64)))),
    "port.step": (_port("step"), PortLeaf(_port("step"), content_hash(np.asarray(5, np.int64)))),
    "port.schedule": (
        _port("learning_rate"),
        PortLeaf(_port("learning_rate"), content_hash(np.asarray(1, np.float32))),
    ),
    "leaf.shape": (0, PortLeaf(1, _leaf(0).content)),
    "leaf.instruction": (MANY, replace(_leaf(MANY), instruction=_leaf(MANY + 1).instruction)),
    "leaf.operands": (MANY, replace(_leaf(MANY), operands=_leaf(MANY).operands[::-1])),
    "result": (MANY, replace(_leaf(MANY), results=(OTHER,) * len(_leaf(MANY).results))),
    "output": (OUT, replace(_leaf(OUT), content=OTHER)),
    "state": (LAYOUT.last, LastLeaf(OTHER, _leaf(LAYOUT.last).outputs)),
}


@pytest.mark.parametrize("code", FORGED)
def test_a_lie_is_local_to_its_leaf(code: str) -> None:
    index, leaf = FORGED[code]
    forger = Forger(STEP, forge(index, leaf))
    verdict = held(forger, forger.lie).verdict
    assert verdict.faulty == {Side.B}
    assert [each.code for each in verdict.lies.values()] == [code]
    assert (verdict.where.step, verdict.where.leaf) == (STEP, index)


def test_outputs_alone_can_be_the_lie() -> None:
    """The state is right and the loss is not."""
    forger = Forger(STEP, forge(LAYOUT.last, LastLeaf(_leaf(LAYOUT.last).state, OTHER)))
    verdict = held(forger, forger.lie).verdict
    assert (verdict.faulty, verdict.where.leaf) == ({Side.B}, LAYOUT.last)


def test_a_trace_of_another_size_is_refused() -> None:
    forger = Forger(STEP, (*TRUE.leaves[:-2], LastLeaf(OTHER, OTHER)))
    verdict = held(forger, forger.lie).verdict
    assert [(each, lie.code) for each, lie in verdict.lies.items()] == [(Side.B, "step.size")]


# Sides that do not play by the rules.


class Twisting(ReplayingSide):
    """A liar with one wrong instruction, who twists some of its answers."""

    def __init__(self, twist: Callable[[Request, Reply], Reply]) -> None:
        wrong = WrongExecutable(SMALL.program, 7, COUNT - 1)
        self.lie = SMALL.trace(wrong)
        self.twist = twist
        super().__init__(SMALL.program, SMALL.feeder(), wrong, self.lie, {0: SMALL.state})

    def answer(self, request: Request) -> Reply:
        return self.twist(request, super().answer(request))


def _silent(request: Request, reply: Reply) -> Reply:
    return None


def _nodes(request: Request, reply: Reply) -> Reply:
    return Nodes((OTHER, *reply.hashes[1:])) if isinstance(reply, Nodes) else reply


def _shifted(request: Request, reply: Reply) -> Reply:
    """Two hashes with a byte of the second in the first: they hash to the same node."""
    if not isinstance(reply, Nodes) or len(reply.hashes) < 2:
        return reply
    one, two, *rest = reply.hashes
    return Nodes((one + two[:1], two[1:], *rest))


def _checkpoint(request: Request, reply: Reply) -> Reply:
    if isinstance(reply, CheckpointPair):
        return replace(reply, own=replace(reply.own, data=reply.own.data + b" "))
    return reply


def _no_before(request: Request, reply: Reply) -> Reply:
    return replace(reply, before=None) if isinstance(reply, CheckpointPair) else reply


def _steps(request: Request, reply: Reply) -> Reply:
    if isinstance(request, AskSteps) and isinstance(reply, StepRoots):
        return StepRoots((*reply.states[:-1], OTHER), reply.outputs)
    return reply


def _honest_steps(request: Request, reply: Reply) -> Reply:
    return side(HONEST).answer(request) if isinstance(request, AskSteps) else reply


def _honest_trace(request: Request, reply: Reply) -> Reply:
    if isinstance(request, AskStep):
        return side(HONEST).answer(request)
    return reply


TWISTS = {
    "silent": (_silent, "nodes"),
    "nodes of its own": (_nodes, "nodes"),
    "hashes cut elsewhere": (_shifted, "nodes"),
    "another checkpoint": (_checkpoint, "checkpoint.path"),
    "no checkpoint before": (_no_before, "checkpoint.withheld"),
    "steps that end elsewhere": (_steps, "steps.state"),
    "the honest side's steps": (_honest_steps, "steps.state"),
    "the honest side's trace": (_honest_trace, "step.end"),
}


@pytest.mark.parametrize("name", TWISTS)
def test_whoever_breaks_the_rules_has_lied(name: str) -> None:
    twist, code = TWISTS[name]
    liar = Twisting(twist)
    verdict = held(liar, liar.lie).verdict
    assert [(each, lie.code) for each, lie in verdict.lies.items()] == [(Side.B, code)]


def test_bad_evidence_of_a_liar_does_not_help_it() -> None:
    """Operands that are not their sources' outputs are not used; the other side's are."""

    def twist(request: Request, reply: Reply) -> Reply:
        if isinstance(reply, OperandEvidence):
            return replace(
                reply, contents=tuple(bytes(len(each or b"")) for each in reply.contents)
            )
        return reply

    liar = Twisting(twist)
    for first in (False, True):
        verdict = held(liar, liar.lie, first=first).verdict
        assert verdict.faulty == {Side.A if first else Side.B}
        assert verdict.where.leaf == FIRST + COUNT - 1


def test_without_any_evidence_both_withheld_it() -> None:
    liar = Twisting(lambda request, reply: None if isinstance(request, AskEvidence) else reply)
    honest = _Mute(SMALL.program, SMALL.feeder(), SMALL.compiled(), HONEST, {0: SMALL.state})
    heads = {Side.A: HONEST.head, Side.B: liar.lie.head}
    sides = {Side.A: honest, Side.B: liar}
    verdict = settle(Case(SMALL.run, SMALL.program, heads), sides, lambda: 0.0).verdict
    assert {lie.code for lie in verdict.lies.values()} == {"evidence.withheld"}
    assert verdict.faulty == {Side.A, Side.B}


class _Mute(ReplayingSide):
    def answer(self, request: Request) -> Reply:
        return None if isinstance(request, AskEvidence) else super().answer(request)


# Evidence that is made up to go with a lie: the liar is asked first, and is not believed.


class Framing(Forger):
    """Shows evidence that would make its own lie true."""

    def __init__(
        self, step: int, leaves: Sequence[Leaf], made_up: Callable[[Reply], Reply]
    ) -> None:
        super().__init__(step, leaves)
        self.made_up = made_up

    def evidence(self, step: int, index: int) -> Reply:
        return self.made_up(super().evidence(step, index))


def _other_tensor(reply: Reply) -> Reply:
    assert isinstance(reply, TensorEvidence)
    return replace(reply, tensor=replace(reply.tensor, content=OTHER))


def _other_tensors_tree(reply: Reply) -> Reply:
    """A whole tree of its own, in which its tensor is."""
    assert isinstance(reply, TensorEvidence)
    tensor = replace(reply.tensor, content=OTHER)
    leaves = [tensor.leaf] * reply.head.size
    tree = Tree(leaves)
    return replace(reply, head=tree.head, tensor=tensor, path=tree.path(reply.place))


ZEROS = bytes(len(SMALL.data.row(0)))


def _other_rows(reply: Reply) -> Reply:
    assert isinstance(reply, RowsEvidence)
    return replace(reply, rows=tuple(replace(each, data=ZEROS) for each in reply.rows))


def _other_state_before(reply: Reply) -> Reply:
    assert isinstance(reply, EndEvidence)
    return replace(reply, before=tuple(replace(each, content=OTHER) for each in reply.before))


def _end_with_scale_of_zeros() -> LastLeaf:
    """Where the step would end if the parameter that no step changes had another content."""
    before = {port.name: OTHER for port in LAYOUT.ports}
    named = {each.name: each.content for each in TRUE.leaves if isinstance(each, OutputLeaf)}
    return end_of_step(LAYOUT, before, named)


X_OF_ZEROS = content_hash(np.zeros((4, 6), np.float32))
FRAMED: dict[str, tuple[int, Leaf, Callable[[Reply], Reply]]] = {
    "a tensor": (_port("w1"), PortLeaf(_port("w1"), OTHER), _other_tensor),
    "a state": (_port("w1"), PortLeaf(_port("w1"), OTHER), _other_tensors_tree),
    "rows": (_port("x"), PortLeaf(_port("x"), X_OF_ZEROS), _other_rows),
    "the state before": (LAYOUT.last, _end_with_scale_of_zeros(), _other_state_before),
}


@pytest.mark.parametrize("name", FRAMED)
def test_made_up_evidence_does_not_frame_the_honest_side(name: str) -> None:
    index, leaf, made_up = FRAMED[name]
    assert TRUE.leaves[index] != leaf
    framing = Framing(STEP, forge(index, leaf), made_up)
    verdict = held(framing, framing.lie, first=True).verdict
    assert (verdict.faulty, verdict.where.leaf) == ({Side.A}, index)


# Checkpoints that lie about what follows from the run.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"step": 11}, "checkpoint.step"),
        ({"indices": OTHER}, "checkpoint.rows"),
        ({"outputs": OTHER}, "steps.outputs"),
        ({"state": OTHER}, "steps.state"),
    ],
)
def test_a_checkpoint_that_its_steps_do_not_lead_to(change: dict[str, Any], code: str) -> None:
    one, two, three = HONEST.checkpoints
    lie = Trace((one, replace(two, **change), three))
    verdict = held(side(lie), lie).verdict
    assert [(each, lie.code) for each, lie in verdict.lies.items()] == [(Side.B, code)]
    assert (verdict.where.checkpoint, verdict.where.step) == (1, None)


# Clocks.


def test_a_silent_side_loses_by_its_own_clock() -> None:
    lie = replace(HONEST.checkpoints[0], state=OTHER)
    heads = {Side.A: HONEST.head, Side.B: Trace((lie, *HONEST.checkpoints[1:])).head}
    case = Case(SMALL.run, SMALL.program, heads)
    dispute, asks = begin_dispute(case, clock_s=10.0, at=100.0)
    assert [ask.side for ask in asks] == [Side.A, Side.B]
    reply = side(HONEST).answer(asks[0].request)
    dispute, _ = advance(dispute, Answer(Side.A, reply), 108.0)
    assert dispute.clocks == {Side.A: 2.0, Side.B: 2.0}
    dispute, _ = advance(dispute, Tick(), 109.9)
    assert dispute.verdict is None
    dispute, _ = advance(dispute, Tick(), 110.5)
    assert dispute.verdict is not None
    assert dispute.verdict.faulty == {Side.B}
    assert dispute.verdict.lies[Side.B].code == "silent"
    assert dispute.clocks[Side.A] == 2.0  # it had answered: its clock stood still


def test_a_late_answer_is_none_and_nothing_follows_a_verdict() -> None:
    lie = replace(HONEST.checkpoints[0], state=OTHER)
    heads = {Side.A: HONEST.head, Side.B: Trace((lie, *HONEST.checkpoints[1:])).head}
    case = Case(SMALL.run, SMALL.program, heads)
    dispute, asks = begin_dispute(case, clock_s=1.0, at=0.0)
    reply = side(HONEST).answer(asks[0].request)
    over, _ = advance(dispute, Answer(Side.A, reply), 5.0)
    assert over.verdict is not None
    assert over.verdict.faulty == {Side.A, Side.B}
    assert advance(over, Answer(Side.A, reply), 6.0) == (over, [])


def test_a_second_answer_changes_nothing() -> None:
    lie = replace(HONEST.checkpoints[0], state=OTHER)
    heads = {Side.A: HONEST.head, Side.B: Trace((lie, *HONEST.checkpoints[1:])).head}
    dispute, asks = begin_dispute(Case(SMALL.run, SMALL.program, heads), clock_s=1.0, at=0.0)
    reply = side(HONEST).answer(asks[0].request)
    once, _ = advance(dispute, Answer(Side.A, reply), 0.0)
    twice, _ = advance(once, Answer(Side.A, None), 0.0)
    assert twice.replies == once.replies
