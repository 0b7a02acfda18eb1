"""Carries a dispute through with both sides at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bcai.base.errors import BcaiError
from bcai.proof.bisection import Answer, Ask, Case, Dispute, Verdict, advance
from bcai.proof.messages import Answerer, Reply, Side
from bcai.proof.stages import begin_dispute

CLOCK_S = 3600.0


@dataclass(frozen=True, slots=True)
class Settled:
    """How a dispute ended, and what it took."""

    verdict: Verdict
    messages: int
    nbytes: int
    seconds: float


def settle(
    case: Case,
    sides: Mapping[Side, Answerer],
    clock: Callable[[], float],
    *,
    clock_s: float = CLOCK_S,
    progress: Callable[[Ask], None] = lambda ask: None,
) -> Settled:
    """Ask both sides until it is clear who lied.

    A side that fails to answer, or is asked for what it does not have, has answered nothing.
    """
    started = clock()
    dispute, asks = begin_dispute(case, clock_s=clock_s, at=started)
    while dispute.verdict is None:
        dispute, asks = _round(dispute, asks, sides, clock, progress)
    seconds = clock() - started
    return Settled(dispute.verdict, dispute.messages, dispute.nbytes, seconds)


def _round(
    dispute: Dispute,
    asks: list[Ask],
    sides: Mapping[Side, Answerer],
    clock: Callable[[], float],
    progress: Callable[[Ask], None],
) -> tuple[Dispute, list[Ask]]:
    more: list[Ask] = []
    for ask in asks:
        progress(ask)
        dispute, further = advance(dispute, Answer(ask.side, _reply(sides, ask)), clock())
        more += further
    return dispute, more


def _reply(sides: Mapping[Side, Answerer], ask: Ask) -> Reply:
    try:
        return sides[ask.side].answer(ask.request)
    except (BcaiError, LookupError):
        return None
