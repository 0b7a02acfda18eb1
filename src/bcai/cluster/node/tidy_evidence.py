"""Keeps what defends earlier results within the owner's bounds; no job waits for that."""

import logging
import time
from functools import partial

import anyio
import anyio.to_thread

from bcai.base.units import MIB
from bcai.cluster.node.doorbell import Doorbell
from bcai.cluster.node.evidence_shelf import DISPUTED, EVIDENCE, Pins, forget_old
from bcai.settings import Settings

REST = 20.0  # times as long as a look took: thousands of kept jobs cost a twentieth of a core

logger = logging.getLogger(__name__)


async def keep_tidy(settings: Settings, ended: Doorbell) -> None:
    """Look at the shelf now and after jobs have `ended`, for ever."""
    while True:
        began = time.monotonic()
        try:
            look = partial(_tidy, settings)
            await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
        except OSError as error:
            logger.warning("the evidence of earlier jobs cannot be tidied: %s", error)
        await anyio.sleep(REST * (time.monotonic() - began))
        await ended.wait()


def _tidy(settings: Settings) -> None:
    node = settings.node
    forget_old(
        settings.node_folder / EVIDENCE,
        Pins(settings.node_folder / DISPUTED),
        bytes_max=node.evidence_mb * MIB,
        age_s_max=node.evidence_hours * 3600.0,
        now=time.time(),
    )
