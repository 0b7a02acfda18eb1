"""The folders of a job: its project, its data and its input tensors, built from the cache."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from bcai.base.errors import DependencyError, NotFoundError
from bcai.cluster.node.cache import BlobCache
from bcai.jobs.spec import FileRef, JobSpec, Mount

FETCHES_MAX = 8  # at once, per job

PROJECT = "project"
DATA = "data"
INPUT = "input"
_FOLDERS = {Mount.PROJECT: PROJECT, Mount.DATA: DATA, Mount.INPUT: INPUT}


async def build_folders(spec: JobSpec, folder: Path, cache: BlobCache) -> None:
    """Fill `folder/project`, `folder/data` and `folder/input` with the job's code and files.

    Raises
    ------
    DependencyError, NotFoundError
        A file is not to be had.
    OSError
        This machine's disk is full, or fails.
    """
    for name in _FOLDERS.values():
        (folder / name).mkdir(parents=True)
    await _link_files(spec.files, folder, cache)
    if spec.code is not None:
        script = folder / PROJECT / spec.code_name
        # A lone surrogate is the user's syntax error, to be shown with its line; not ours.
        text = spec.code.encode("utf-8", "surrogatepass")
        await anyio.to_thread.run_sync(script.write_bytes, text)


async def _link_files(files: Sequence[FileRef], folder: Path, cache: BlobCache) -> None:
    """Place every file; of equal ones only the first is fetched, the rest find it cached."""
    targets: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
    for file in files:
        targets[file.digest, file.size].append(folder / _FOLDERS[file.mount] / file.path)
    limiter = anyio.CapacityLimiter(FETCHES_MAX)

    failures: list[DependencyError | NotFoundError | OSError] = []

    async def place(digest: str, size: int, paths: list[Path]) -> None:
        async with limiter:
            try:
                for path in paths:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    await cache.link(digest, size, path)
            except (DependencyError, NotFoundError, OSError) as error:
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for (digest, size), paths in targets.items():
            group.start_soon(place, digest, size, paths)
    if failures:
        raise failures[0]
    await anyio.to_thread.run_sync(cache.evict)
