"""A dispute as a pure machine: two traces that disagree, down to the first leaf that does.

`advance(dispute, message, at)` gives the next state and what to ask. Time is an argument; each side
has a clock that runs while an answer of its own is missing, and whoever lets it run out has lost.
The referee runs nothing here; the last step, one instruction, is the arbiter's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from bcai.base.errors import InputError
from bcai.base.merkle import HASH_BYTES, TreeHead, fold, widths
from bcai.proof.message_codec import encode_message
from bcai.proof.messages import AskNodes, Nodes, Reply, Request, Side
from bcai.proof.run import Run
from bcai.proof.step_trace import StepLayout
from bcai.vm.program.program import VerifiedProgram

SIDES = (Side.A, Side.B)
DEPTH = 4
"""Levels that one answer goes down: 16 hashes a message."""


class Lie(Exception):  # noqa: N818 - it is what a side told, not an error of ours
    """What one side said cannot be true.

    Attributes
    ----------
    code
        Stable name of what is wrong with it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Liars(Exception):  # noqa: N818 - as above
    """One side lied, or both."""

    def __init__(self, lies: Mapping[Side, Lie]) -> None:
        super().__init__(", ".join(lies))
        self.lies = lies


@dataclass(frozen=True, slots=True)
class Where:
    """How far the dispute has narrowed down."""

    checkpoint: int | None = None
    step: int | None = None
    leaf: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who lied, with what, and where."""

    lies: Mapping[Side, Lie]
    where: Where
    place: str = ""
    """The leaf in words."""

    @property
    def faulty(self) -> frozenset[Side]:
        """Who lied."""
        return frozenset(self.lies)


@dataclass(frozen=True)
class Case:
    """What the sides agree on, and the heads of the traces that they signed."""

    run: Run
    program: VerifiedProgram
    heads: Mapping[Side, TreeHead]
    layout: StepLayout = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what is no dispute."""
        one, two = (self.heads[side] for side in SIDES)
        if one == two:
            raise InputError("the two traces are the same: there is nothing to dispute")
        for side in SIDES:
            if self.heads[side].size != self.run.checkpoints:
                raise InputError(
                    f"trace {side}: {self.heads[side].size} checkpoints, "
                    f"the run has {self.run.checkpoints}"
                )
        object.__setattr__(self, "layout", StepLayout(self.program))


Replies = Mapping[Side, Reply]


class Stage(Protocol):
    """One question, and what follows from the two answers to it."""

    @property
    def where(self) -> Where:
        """How far it has narrowed down."""
        ...

    def ask(self) -> Request:
        """The question, the same to both."""
        ...

    def judge(self, case: Case, replies: Replies) -> "Stage":
        """What to ask next. Raises Liars when it is clear who lied."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A side's answer."""

    side: Side
    reply: Reply


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time has passed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to one side."""

    side: Side
    request: Request


@dataclass(frozen=True)
class Dispute:
    """Where a dispute stands. Over once there is a `verdict`."""

    case: Case
    stage: Stage
    clocks: Mapping[Side, float]
    since: float
    replies: Replies = field(default_factory=dict[Side, Reply])
    verdict: Verdict | None = None
    messages: int = 0
    nbytes: int = 0


def open_dispute(
    case: Case, first: Stage, *, clock_s: float, at: float
) -> tuple[Dispute, list[Ask]]:
    """Begin: each side has `clock_s` seconds for all its answers together."""
    return _asking(Dispute(case, first, dict.fromkeys(SIDES, clock_s), at))


def advance(dispute: Dispute, message: Answer | Tick, at: float) -> tuple[Dispute, list[Ask]]:
    """Take one message at a time `at`, in seconds; return the next state and what to ask."""
    if dispute.verdict is not None:
        return dispute, []
    missing = [side for side in SIDES if side not in dispute.replies]
    gone = max(0.0, at - dispute.since)
    clocks = {
        side: left - gone if side in missing else left for side, left in dispute.clocks.items()
    }
    dispute = replace(dispute, clocks=clocks, since=max(at, dispute.since))
    silent = [side for side in missing if clocks[side] < 0]
    if silent:
        lie = Lie("silent", "did not answer in time")
        return _decided(dispute, dict.fromkeys(silent, lie)), []
    if isinstance(message, Tick) or message.side not in missing:
        return dispute, []
    dispute = replace(
        dispute,
        replies={**dispute.replies, message.side: message.reply},
        messages=dispute.messages + 1,
        nbytes=dispute.nbytes + len(encode_message(message.reply)),
    )
    if len(dispute.replies) < len(SIDES):
        return dispute, []
    try:
        stage = dispute.stage.judge(dispute.case, dispute.replies)
    except Liars as liars:
        return _decided(dispute, liars.lies), []
    return _asking(replace(dispute, stage=stage, replies={}))


def _asking(dispute: Dispute) -> tuple[Dispute, list[Ask]]:
    request = dispute.stage.ask()
    size = len(encode_message(request))
    asks = [Ask(side, request) for side in SIDES]
    return (
        replace(dispute, messages=dispute.messages + 2, nbytes=dispute.nbytes + 2 * size),
        asks,
    )


def _decided(dispute: Dispute, lies: Mapping[Side, Lie]) -> Dispute:
    where = dispute.stage.where
    place = "" if where.leaf is None else dispute.case.layout.describe(where.leaf)
    return replace(dispute, verdict=Verdict(lies, where, place))


@dataclass(frozen=True, slots=True)
class Descent:
    """Two trees of one size, compared from the root down to the first leaf that differs."""

    size: int
    nodes: Mapping[Side, bytes]
    level: int
    index: int = 0

    @property
    def depth(self) -> int:
        """How far down the next answer goes."""
        return min(DEPTH, self.level)

    @property
    def count(self) -> int:
        """How many nodes the next answer has."""
        start = self.index << self.depth
        return min(widths(self.size)[self.level - self.depth] - start, 1 << self.depth)

    def ask(self, step: int | None) -> AskNodes:
        """What to ask for next."""
        return AskNodes(step, self.level, self.index, self.depth)

    def descend(self, replies: Replies) -> "Descent":
        """Go to the first node that differs. Raises Liars."""
        below: dict[Side, Sequence[bytes]] = {}
        lies: dict[Side, Lie] = {}
        for side in SIDES:
            reply = replies[side]
            hashes = reply.hashes if isinstance(reply, Nodes) else ()
            whole = len(hashes) == self.count and all(len(each) == HASH_BYTES for each in hashes)
            if not whole or fold(hashes, self.depth) != [self.nodes[side]]:
                lies[side] = Lie("nodes", "nodes that do not hash to the one above them")
            below[side] = hashes
        if lies:
            raise Liars(lies)
        pairs = zip(below[Side.A], below[Side.B], strict=True)
        place = next(place for place, (one, two) in enumerate(pairs) if one != two)
        nodes = {side: below[side][place] for side in SIDES}
        level = self.level - self.depth
        return Descent(self.size, nodes, level, (self.index << self.depth) + place)


def descent_of(heads: Mapping[Side, TreeHead]) -> Descent:
    """Begin at the roots of two trees of one size."""
    size = heads[Side.A].size
    return Descent(size, {side: heads[side].root for side in SIDES}, len(widths(size)) - 1)
