"""The questions of a dispute, in order: checkpoint, step, leaf. Each answer binds who gives it.

1. Down the trees of checkpoints, to the first that differs.
2. That checkpoint: its step and its rows follow from the run, so a lie about those ends it here.
3. State and outputs after each of its steps, which must lead to it: the first that differs.
4. The head of that step's trace, which must end in what was just claimed.
5. Down the trees of leaves, to the first that differs.
6. That leaf. What it says of the program and its places is held against the program: no execution.
7. What shows that it is right: `arbiter.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.base.merkle import TreeHead, is_included, leaf_hash
from bcai.proof.arbiter import EvidenceStage
from bcai.proof.bisection import (
    SIDES,
    Ask,
    Case,
    Descent,
    Dispute,
    Liars,
    Lie,
    Replies,
    Stage,
    Where,
    descent_of,
    open_dispute,
)
from bcai.proof.feed import indices_digest
from bcai.proof.messages import (
    AskCheckpoint,
    AskLeaf,
    AskNodes,
    AskStep,
    AskSteps,
    CheckpointPair,
    Opened,
    Side,
    StepRoots,
    StepTop,
)
from bcai.proof.recorder import Checkpoint, decode_checkpoint, encode_checkpoint
from bcai.proof.step_trace import InstructionLeaf, LastLeaf, Leaf, decode_leaf
from bcai.vm.program import cbor

T = TypeVar("T")


def begin_dispute(case: Case, *, clock_s: float, at: float) -> tuple[Dispute, list[Ask]]:
    """Open a dispute about two traces of one run."""
    descent = descent_of(case.heads)
    first = _TraceStage(descent) if descent.level else _CheckpointStage(0)
    return open_dispute(case, first, clock_s=clock_s, at=at)


@dataclass(frozen=True, slots=True)
class _TraceStage:
    descent: Descent

    @property
    def where(self) -> Where:
        return Where()

    def ask(self) -> AskNodes:
        return self.descent.ask(None)

    def judge(self, case: Case, replies: Replies) -> Stage:
        del case
        below = self.descent.descend(replies)
        return _TraceStage(below) if below.level else _CheckpointStage(below.index)


@dataclass(frozen=True, slots=True)
class _CheckpointStage:
    index: int

    @property
    def where(self) -> Where:
        return Where(self.index)

    def ask(self) -> AskCheckpoint:
        return AskCheckpoint(self.index)

    def judge(self, case: Case, replies: Replies) -> Stage:
        """Both open the checkpoint; what it starts from is agreed, so one side's word will do."""

        def check(side: Side) -> tuple[bytes, Checkpoint]:
            reply = replies[side]
            if not isinstance(reply, CheckpointPair):
                raise Lie("checkpoint.withheld", "does not show its checkpoint")
            own = _opened_checkpoint(case.heads[side], self.index, reply.own)
            _check_rule(case, self.index, own)
            if self.index == 0:
                return case.run.first_state, own
            if reply.before is None:
                raise Lie("checkpoint.withheld", "does not show the checkpoint before")
            before = _opened_checkpoint(case.heads[side], self.index - 1, reply.before)
            return before.state, own

        found = of_each(check)
        own = {side: each[1] for side, each in found.items()}
        return _StepsStage(self.index, found[Side.A][0], own)


@dataclass(frozen=True, slots=True)
class _StepsStage:
    index: int
    before: bytes
    own: Mapping[Side, Checkpoint]

    @property
    def where(self) -> Where:
        return Where(self.index)

    def ask(self) -> AskSteps:
        return AskSteps(self.index)

    def judge(self, case: Case, replies: Replies) -> Stage:
        span = case.run.span(self.index)

        def check(side: Side) -> StepRoots:
            reply = replies[side]
            if not isinstance(reply, StepRoots) or len(reply.states) != len(span):
                raise Lie("steps.count", f"does not say where each of {len(span)} steps ends")
            if reply.states[-1] != self.own[side].state:
                raise Lie("steps.state", "its steps do not end in its checkpoint's state")
            outputs = all(len(each) == 32 for each in reply.outputs)
            whole = outputs and len(reply.outputs) == len(span)
            if not whole or blake3(b"".join(reply.outputs)).digest() != self.own[side].outputs:
                raise Lie("steps.outputs", "its steps' outputs are not its checkpoint's")
            return reply

        found = of_each(check)
        ends = {
            side: list(zip(each.states, each.outputs, strict=True)) for side, each in found.items()
        }
        place = next(
            place for place in range(len(span)) if ends[Side.A][place] != ends[Side.B][place]
        )
        before = found[Side.A].states[place - 1] if place else self.before
        claims = {side: LastLeaf(*ends[side][place]) for side in SIDES}
        return _StepStage(Where(self.index, span[place]), before, claims)


@dataclass(frozen=True, slots=True)
class _StepStage:
    where: Where
    before: bytes
    claims: Mapping[Side, LastLeaf]

    def ask(self) -> AskStep:
        return AskStep(_step(self.where))

    def judge(self, case: Case, replies: Replies) -> Stage:
        layout = case.layout

        def check(side: Side) -> TreeHead:
            reply = replies[side]
            if not isinstance(reply, StepTop) or reply.head.size != layout.size:
                raise Lie("step.size", f"does not show a trace of {layout.size} leaves")
            if _opened_leaf(reply.head, layout.last, reply.last) != self.claims[side]:
                raise Lie("step.end", "its step's trace does not end where it said")
            return reply.head

        heads = of_each(check)
        descent = descent_of(heads)
        return _LeafDescent(self.where, self.before, heads, descent)


@dataclass(frozen=True, slots=True)
class _LeafDescent:
    where: Where
    before: bytes
    heads: Mapping[Side, TreeHead]
    descent: Descent

    def ask(self) -> AskNodes:
        return self.descent.ask(_step(self.where))

    def judge(self, case: Case, replies: Replies) -> Stage:
        del case
        below = self.descent.descend(replies)
        if below.level:
            return replace(self, descent=below)
        where = replace(self.where, leaf=below.index)
        return _LeafStage(where, self.before, self.heads)


@dataclass(frozen=True, slots=True)
class _LeafStage:
    where: Where
    before: bytes
    heads: Mapping[Side, TreeHead]

    def ask(self) -> AskLeaf:
        assert self.where.leaf is not None
        return AskLeaf(_step(self.where), self.where.leaf)

    def judge(self, case: Case, replies: Replies) -> Stage:
        index = self.where.leaf
        assert index is not None

        def check(side: Side) -> Leaf:
            reply = replies[side]
            if not isinstance(reply, Opened):
                raise Lie("leaf.withheld", "does not show its leaf")
            leaf = _opened_leaf(self.heads[side], index, reply)
            if not case.layout.is_as_declared(index, leaf):
                _tell_apart(case, index, leaf)
            return leaf

        leaves = of_each(check)
        return EvidenceStage(self.where, self.before, self.heads, leaves)


def of_each(check: Callable[[Side], T]) -> dict[Side, T]:
    """What a check gives for each side. Raises Liars with every side that it raised Lie for."""
    found: dict[Side, T] = {}
    lies: dict[Side, Lie] = {}
    for side in SIDES:
        try:
            found[side] = check(side)
        except Lie as lie:
            lies[side] = lie
    if lies:
        raise Liars(lies)
    return found


def _step(where: Where) -> int:
    assert where.step is not None
    return where.step


def _opened_checkpoint(head: TreeHead, index: int, opened: Opened) -> Checkpoint:
    if not is_included(head, index, leaf_hash(opened.data), opened.path):
        raise Lie("checkpoint.path", f"checkpoint {index} is not the one that it signed")
    try:
        checkpoint = decode_checkpoint(cbor.decode(opened.data))
    except (FormatError, ValueError, TypeError) as error:
        raise Lie("checkpoint.form", f"checkpoint {index} is none: {error}") from error
    if cbor.encode(encode_checkpoint(checkpoint)) != opened.data:
        raise Lie("checkpoint.form", f"checkpoint {index} is not in its one form")
    return checkpoint


def _opened_leaf(head: TreeHead, index: int, opened: Opened) -> Leaf:
    if not is_included(head, index, leaf_hash(opened.data), opened.path):
        raise Lie("leaf.path", f"leaf {index} is not in its step's trace")
    try:
        return decode_leaf(opened.data)
    except FormatError as error:
        raise Lie("leaf.form", f"leaf {index} is none: {error}") from error


def _check_rule(case: Case, index: int, own: Checkpoint) -> None:
    span = case.run.span(index)
    if own.step != span.stop:
        raise Lie("checkpoint.step", f"says {own.step} steps, the run has {span.stop} by then")
    if own.indices != indices_digest(case.run, span):
        raise Lie("checkpoint.rows", "took other rows than the run's seed draws")


def _tell_apart(case: Case, index: int, leaf: Leaf) -> None:
    """Say in which way a leaf is not what the program declares."""
    layout, place = case.layout, case.layout.describe(index)
    position = index - layout.first_instruction
    if isinstance(leaf, InstructionLeaf) and 0 <= position < len(layout.instructions):
        if leaf.instruction != layout.instructions[position]:
            raise Lie("leaf.instruction", f"{place}: executed another instruction")
        if leaf.operands != layout.operands(position):
            raise Lie("leaf.operands", f"{place}: took its operands from other places")
    raise Lie("leaf.shape", f"{place}: is not what the program has there")
