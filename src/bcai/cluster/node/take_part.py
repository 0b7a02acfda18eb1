"""One side's part in a dispute: it takes each question from the gateway and hands in an answer.

It keeps nothing: whoever takes part again after a crash goes on at the present question.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from bcai.base.errors import ConflictError
from bcai.jobs.dispute import Party
from bcai.wire.disputes import DisputeView

WAIT_S = 20.0


class Court(Protocol):
    """Where the dispute takes place: the gateway, for one job. All methods raise BcaiError."""

    async def look(self, after: int, wait_s: float) -> DisputeView:
        """The dispute, once it has a question after `after` or is over, or `wait_s` later."""
        ...

    async def answer(self, number: int, answer: bytes) -> DisputeView:
        """Hand in an answer to a question."""
        ...


async def take_part(
    court: Court, party: Party, answer: Callable[[bytes], Awaitable[bytes]]
) -> DisputeView:
    """Answer every question to one side until the dispute is over; return how it ended."""
    view = await court.look(-1, 0.0)
    while view.ruling is None:
        if view.round is not None and view.question is not None and party in view.missing:
            said = await answer(bytes.fromhex(view.question))
            try:
                view = await court.answer(view.round, said)
            except ConflictError:  # the clock ran out meanwhile, or a twin of ours was faster
                view = await court.look(-1, 0.0)
        else:
            view = await court.look(-1 if view.round is None else view.round, WAIT_S)
    return view
