"""Content-addressed bytes on disk: `ab/cdef...` by BLAKE3, written atomically, checked on reading.

A file appears under its name only when all its bytes are there, checked and flushed. A file that
turns out to be damaged is moved to `damaged/`, so that the same bytes can be uploaded again.
"""
# ruff: noqa: D102 - protocol.py says what each method promises

import errno
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
from blake3 import blake3

from bcai.base.digest import parse_digest
from bcai.base.errors import (
    DependencyError,
    FormatError,
    NotFoundError,
    ResourceError,
    TooLargeError,
)
from bcai.base.units import MIB, format_size

CHUNK_BYTES = MIB  # each costs one hop to a thread
TRIES_MAX = 10


class FileBlobStore:
    """A BlobStore in a folder of this machine; what each method promises stands there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._damaged = folder / "damaged"
        for each in (folder, self._incoming, self._damaged):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clean()

    async def put(self, digest: str, chunks: AsyncIterator[bytes], *, size_max: int) -> int:
        parse_digest(digest)
        size = 0
        with self._new_file() as file:
            hasher = blake3()
            waiting = bytearray()
            async for chunk in chunks:
                size += len(chunk)
                if size > size_max:
                    raise TooLargeError(f"blob {digest}: larger than {format_size(size_max)}")
                waiting += chunk
                if len(waiting) >= CHUNK_BYTES:
                    await anyio.to_thread.run_sync(_write, file, hasher, bytes(waiting))
                    waiting.clear()
            await anyio.to_thread.run_sync(_write, file, hasher, bytes(waiting))
            if "blake3:" + hasher.hexdigest() != digest:
                raise FormatError(
                    f"blob {digest}: the {size} bytes that came are blake3:{hasher.hexdigest()}",
                    hint="the bytes changed on the way, or the digest is of other bytes",
                )
            await anyio.to_thread.run_sync(self._publish, file, digest)
        return size

    async def size(self, digest: str) -> int | None:
        try:
            status = await anyio.to_thread.run_sync(os.stat, self._path(digest))
        except FileNotFoundError:
            return None
        return status.st_size

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        file = await anyio.to_thread.run_sync(self._open, digest)
        with file:
            hasher = blake3()
            held = b""  # the last chunk stays here until all of them are known to be right
            while chunk := await anyio.to_thread.run_sync(self._read_chunk, file, hasher, digest):
                if held:
                    yield held
                held = chunk
            if "blake3:" + hasher.hexdigest() != digest:
                raise await anyio.to_thread.run_sync(self._set_aside, file, digest)
            if held:
                yield held

    def _path(self, digest: str) -> Path:
        name = parse_digest(digest).removeprefix("blake3:")
        return self._folder / name[:2] / name[2:]

    @contextmanager
    def _new_file(self) -> Generator[BinaryIO]:
        """Open a file of our own, locked as long as we live; it goes unless it was published."""
        with self._locked_file() as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def _locked_file(self) -> BinaryIO:
        for _ in range(TRIES_MAX):
            file = (self._incoming / secrets.token_hex(16)).open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 1:
                return file
            file.close()  # another process cleaned it away before it was locked
        raise DependencyError(f"the blobs' folder was cleaned {TRIES_MAX} times meanwhile")

    def _publish(self, file: BinaryIO, digest: str) -> None:
        target = self._path(digest)
        with _translated():
            file.flush()
            os.fsync(file.fileno())
            if not target.parent.is_dir():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            Path(file.name).replace(target)
            _sync_folder(target.parent)

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"no blob {digest}", hint="upload it first") from None

    def _read_chunk(self, file: BinaryIO, hasher: blake3, digest: str) -> bytes:
        try:
            chunk = file.read(CHUNK_BYTES)
        except OSError as error:  # the disk cannot read its own bytes
            raise self._set_aside(file, digest) from error
        hasher.update(chunk)
        return chunk

    def _set_aside(self, file: BinaryIO, digest: str) -> FormatError:
        """Move a damaged file out of the way, unless a good one has just taken its place."""
        path = self._path(digest)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                path.replace(self._damaged / digest.removeprefix("blake3:"))
        return FormatError(
            f"blob {digest}: the copy on this disk is damaged", hint="upload it again"
        )

    def _clean(self) -> None:
        """Remove what writers left that died; the living hold a lock on theirs."""
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink()


def _write(file: BinaryIO, hasher: blake3, data: bytes) -> None:
    with _translated():
        file.write(data)
    hasher.update(data)


def _sync_folder(folder: Path) -> None:
    """Make a name in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(
                f"no room for blobs: {error.strerror}", hint="free some disk space, then try again"
            ) from error
        raise DependencyError(f"the blobs' disk failed: {error.strerror}") from error
