"""Empties open disputes: asks their next question, or rules."""

import logging
import time
from typing import TYPE_CHECKING

import anyio

from bcai.base.errors import BcaiError, ConflictError, DependencyError
from bcai.cluster.store.protocol import BlobStore, JobStore

if TYPE_CHECKING:
    from bcai.cluster.scheduler.referee import Referee

LOOK_S = 1.0  # clocks run out without a commit

logger = logging.getLogger(__name__)


async def judge_disputes(store: JobStore, blobs: BlobStore) -> None:
    """Look after every change, for ever. Several may do so at once: every write is fenced."""
    seen, restarted, referee = 0, False, None
    while True:
        try:
            if not restarted:  # nobody kept time while no scheduler ran
                await store.restart_clocks()
                restarted = True
            referee = await empty_disputed(store, blobs, referee, now=time.time())
            seen = await store.wait_for_change(LOOK_S, seen=seen)
        except BcaiError as error:
            logger.warning("disputes wait: %s", error)
            await anyio.sleep(LOOK_S)


async def empty_disputed(
    store: JobStore, blobs: BlobStore, referee: "Referee | None", *, now: float
) -> "Referee | None":
    """Look at every open dispute once. The referee is made for the first one."""
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
        except DependencyError as error:
            logger.warning("dispute %s waits: %s", record.id, error)
        except MemoryError:
            logger.exception("dispute %s needs more memory than the referee has", record.id)
    return referee
