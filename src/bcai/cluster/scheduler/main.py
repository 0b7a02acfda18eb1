"""The scheduler's process: looks after every change, and empties one state after the other."""

import logging
import signal
import sys
import time
from collections.abc import Callable

import anyio

from bcai.base.backoff import backoff_s
from bcai.base.errors import BcaiError, exit_status
from bcai.cluster.scheduler.absence import Absence
from bcai.cluster.scheduler.assigned import empty_assigned
from bcai.cluster.scheduler.disputed import judge_disputes
from bcai.cluster.scheduler.placement import Floor
from bcai.cluster.scheduler.queued import empty_queued
from bcai.cluster.scheduler.running import empty_running
from bcai.cluster.store.open import open_blobs, open_store
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.settings import Settings, read_settings

ROUND_S_MIN = 0.02  # a chatty job commits all the time: that is no reason to look all the time
THOROUGH_S = 1.0  # how often all that waits is looked at, and learns that it moved up
LOOK_S_MAX = 1.0  # leases and back-offs run out without a commit
FAULT_WAIT_S_MAX = 5.0

logger = logging.getLogger(__name__)


def main() -> int:
    """Run a scheduler until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # ten lines that say all is well
    try:
        settings = read_settings()
        anyio.run(serve, settings, open_store(settings), open_blobs(settings))
    except BcaiError as error:
        sys.stderr.write(f"bcai scheduler: {error}\n")
        return exit_status(error.code)
    return 0


async def serve(settings: Settings, store: JobStore, blobs: BlobStore) -> None:
    """Schedule until a signal says stop. Several may do so at once: every write is fenced."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await store.start()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(schedule, settings, store)
                group.start_soon(judge_disputes, store, blobs)
                async for _ in signals:
                    group.cancel_scope.cancel()
                    break
        finally:
            with anyio.CancelScope(shield=True):
                await store.stop()


async def schedule(
    settings: Settings, store: JobStore, *, clock: Callable[[], float] = time.time
) -> None:
    """Do one round after the other, for ever; a store that fails is asked again later.

    After an absence every node has a lease's time to call before its jobs count as lost.
    """
    seen, failures, thorough_at, patient_until = 0, 0, 0.0, 0.0
    absence = Absence(settings.lease_s)
    while True:
        began, now = time.monotonic(), clock()
        try:
            if absence.is_over(now):
                patient_until = now + settings.lease_s
            thorough = began - thorough_at >= THOROUGH_S
            patient = now < patient_until
            await one_round(settings, store, now=now, thorough=thorough, patient=patient)
            absence.looked(now, time.monotonic() - began)
            thorough_at = began if thorough else thorough_at
            failures = 0
            timeout_s = min(LOOK_S_MAX, settings.lease_s / 4)
            seen = await store.wait_for_change(timeout_s, seen=seen)
        except BcaiError as error:
            failures += 1
            logger.warning("the store fails: %s", error)
            wait_s = backoff_s(failures, first_s=0.1, most_s=FAULT_WAIT_S_MAX, jitter=1.0)
            await anyio.sleep(wait_s)
        await anyio.sleep(max(0.0, began + ROUND_S_MIN - time.monotonic()))


async def one_round(
    settings: Settings, store: JobStore, *, now: float, thorough: bool, patient: bool = False
) -> None:
    """Look at every state once, the last one first, so that what is freed is given out again.

    A `patient` one takes no job from its node.
    """
    held = [] if patient else await store.running()
    nodes = await store.nodes(online_within_s=settings.lease_s)
    known = {node.id: node for node in nodes}
    await empty_running(store, held, known, now=now)
    await empty_assigned(store, held, known, now=now)
    floor = Floor(nodes, gpu_fallback=settings.gpu_fallback, now=now)
    if floor.has_room or thorough:
        await empty_queued(store, floor, lease_s=settings.lease_s, now=now, thorough=thorough)
