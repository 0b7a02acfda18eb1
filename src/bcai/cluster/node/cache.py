"""Files of jobs on this node's disk, by content, so that the same data travels once."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
from blake3 import blake3

from bcai.base.errors import DependencyError, FormatError
from bcai.cluster.node.transfer import TRIES_MAX, pause

Download = Callable[[str], AsyncGenerator[bytes, None]]


class BlobCache:
    """A bounded folder of verified blobs; several jobs may ask at once.

    A blob is given out as a hard link, so evicting it never pulls it from under a job. It is
    read-only, and hashed again each time it is given out: what changed on disk is fetched anew.
    """

    def __init__(self, folder: Path, download: Download, *, bytes_max: int) -> None:
        self._folder = folder
        self._download = download
        self._bytes_max = bytes_max
        # One lock per blob in work: two jobs that want the same one fetch it once.
        self._locks = WeakValueDictionary[str, anyio.Lock]()
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):  # of a node that was killed
            leftover.unlink(missing_ok=True)

    async def link(self, digest: str, size: int, target: Path) -> None:
        """Place a blob at `target`.

        Raises
        ------
        NotFoundError
            The gateway does not have it.
        DependencyError
            It could not be fetched whole, after all tries.
        """
        lock = self._locks.setdefault(digest, anyio.Lock())
        async with lock:
            kept = self._folder / digest.replace(":", "-")
            if not await anyio.to_thread.run_sync(_is_intact, kept, digest, size):
                await self._fetch(digest, size, kept)
            await anyio.to_thread.run_sync(_link, kept, target)

    def evict(self) -> None:
        """Remove what was used longest ago, until the folder is within its bound."""
        entries: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("blake3-*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another job evicts too
                continue
            entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._bytes_max:
                return
            path.unlink(missing_ok=True)
            total -= size

    async def _fetch(self, digest: str, size: int, kept: Path) -> None:
        failures = 0
        while True:
            try:
                return await self._fetch_once(digest, size, kept)
            except (DependencyError, FormatError) as error:
                failures += 1
                if failures == TRIES_MAX:
                    raise DependencyError(f"{error} ({failures} tries)") from error
            await pause(failures)

    async def _fetch_once(self, digest: str, size: int, kept: Path) -> None:
        part = _Part(self._folder)
        try:
            async with aclosing(self._download(digest)) as chunks:
                async for chunk in chunks:
                    if part.received + len(chunk) > size:
                        raise FormatError(f"{digest} is longer than the {size} bytes announced")
                    await anyio.to_thread.run_sync(part.write, chunk)
            if part.received != size or part.digest != digest:
                raise FormatError(f"what arrived for {digest} is something else")
            part.keep_as(kept)
        finally:
            part.close()


class _Part:
    """A blob on its way in: it gets its name only once it is whole and verified."""

    def __init__(self, folder: Path) -> None:
        self._handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        self._path = Path(name)
        self._hasher = blake3()
        self.received = 0

    def write(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self.received += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._handle, view) :]

    @property
    def digest(self) -> str:
        return "blake3:" + self._hasher.hexdigest()

    def keep_as(self, kept: Path) -> None:
        self._path.chmod(0o444)
        self._path.replace(kept)

    def close(self) -> None:
        os.close(self._handle)
        self._path.unlink(missing_ok=True)


def _is_intact(path: Path, digest: str, size: int) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        hasher = blake3(max_threads=blake3.AUTO).update_mmap(path) if size else blake3()
    except FileNotFoundError:
        return False
    return "blake3:" + hasher.hexdigest() == digest


def _link(kept: Path, target: Path) -> None:
    os.utime(kept)  # eviction goes by this time
    try:
        os.link(kept, target)
    except OSError:  # too many links, or a file system without them
        shutil.copyfile(kept, target)
        target.chmod(0o444)
