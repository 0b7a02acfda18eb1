"""Open the stores that a process's settings name."""

import time
from collections.abc import Callable

from bcai.cluster.store.blobs import FileBlobStore
from bcai.cluster.store.engines import parse_url
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.cluster.store.sql_store import SqlStore
from bcai.settings import Settings


def open_store(settings: Settings, *, clock: Callable[[], float] = time.time) -> JobStore:
    """Return the store of jobs; `start()` opens it.

    Raises
    ------
    InputError
        `database_url` is neither a SQLite file nor PostgreSQL.
    """
    folder = settings.network_folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqlStore(
        parse_url(settings.database_url, folder / "bcai.db"),
        bells=folder / "doorbells",
        queue_max=settings.queue_max,
        clock=clock,
    )


def open_blobs(settings: Settings) -> BlobStore:
    """Return the store of blobs, in the network's folder."""
    return FileBlobStore(settings.network_folder / "blobs")
