"""Empties open disputes: asks their next question, or rules."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from bcai.base.errors import BcaiError, ConflictError
from bcai.cluster.scheduler.absence import Absence
from bcai.cluster.store.protocol import BlobStore, JobStore

if TYPE_CHECKING:
    from bcai.cluster.scheduler.referee import Referee

LOOK_S = 1.0  # clocks run out without a commit
AWAY_S = 30.0  # many looks

logger = logging.getLogger(__name__)


async def judge_disputes(
    store: JobStore, blobs: BlobStore, *, clock: Callable[[], float] = time.time
) -> None:
    """Look after every change, for ever. Several may do so at once: every write is fenced."""
    seen, referee, absence = 0, None, Absence(AWAY_S)
    while True:
        try:
            began, now = time.monotonic(), clock()
            if absence.is_over(now):  # nobody kept time
                await store.restart_clocks()
            referee = await empty_disputed(store, blobs, referee, now=now)
            absence.looked(now, time.monotonic() - began)
            seen = await store.wait_for_change(LOOK_S, seen=seen)
        except BcaiError as error:
            logger.warning("disputes wait: %s", error)
            await anyio.sleep(LOOK_S)


async def empty_disputed(
    store: JobStore, blobs: BlobStore, referee: "Referee | None", *, now: float
) -> "Referee | None":
    """Look at every open dispute once. The referee is made for the first one.

    What stops one of them, which may be what a side has sent, stops no other.
    """
    for record in await store.open_disputes():
        if referee is None:  # it brings the instruction set, which no other scheduler needs
            from bcai.cluster.scheduler.referee import Referee

            referee = Referee(store, blobs)
        try:
            after = await referee.next(record, now)
            if after is not None:
                await store.move_dispute(record, after)
        except ConflictError:  # it was answered, or moved on, meanwhile
            continue
        except BcaiError as error:
            logger.warning("dispute %s waits: %s", record.id, error)
            await anyio.sleep(LOOK_S)  # not as often as others commit
        except Exception:  # a fault of ours: jobs are scheduled beside it
            logger.exception("the referee failed over dispute %s, which waits", record.id)
            await anyio.sleep(LOOK_S)
    return referee
