"""Blobs in every store of blobs: whole and right, or not there."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bcai.base.digest import digest_of
from bcai.base.errors import FormatError, NotFoundError, ResourceError, TooLargeError
from bcai.cluster.store.open import open_blobs
from bcai.cluster.store.protocol import BlobStore
from bcai.settings import Settings

pytestmark = pytest.mark.anyio
SIZE_MAX = 1 << 26
BIG = bytes(range(256)) * 16_000  # several chunks


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for place in range(0, len(data), size):
        yield data[place : place + size]


async def read(blobs: BlobStore, digest: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(digest)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "network" / "blobs"


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(Settings(home=tmp_path))


def path_of(folder: Path, digest: str) -> Path:
    name = digest.removeprefix("blake3:")
    return folder / name[:2] / name[2:]


def leftovers(folder: Path) -> list[Path]:
    return [path for path in (folder / "incoming").iterdir() if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"x", b"x" * (1 << 20), BIG])
async def test_what_goes_in_comes_out(blobs: BlobStore, folder: Path, data: bytes) -> None:
    digest = digest_of(data)
    assert await blobs.size(digest) is None
    with pytest.raises(NotFoundError):
        await read(blobs, digest)
    assert await blobs.put(digest, chunks(data), size_max=SIZE_MAX) == len(data)
    assert await blobs.put(digest, chunks(data), size_max=SIZE_MAX) == len(data)
    assert await blobs.size(digest) == len(data)
    assert await read(blobs, digest) == data
    assert leftovers(folder) == []


async def test_wrong_bytes_leave_nothing(blobs: BlobStore, folder: Path) -> None:
    digest = digest_of(b"right")
    with pytest.raises(FormatError, match=digest):
        await blobs.put(digest, chunks(b"wrong"), size_max=SIZE_MAX)
    assert await blobs.size(digest) is None
    assert leftovers(folder) == []


@pytest.mark.parametrize("digest", ["", "blake3:xyz", "../../etc/passwd", "sha256:" + "0" * 64])
async def test_names_that_are_no_digest(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(FormatError):
        await blobs.put(digest, chunks(b"x"), size_max=SIZE_MAX)
    with pytest.raises(FormatError):
        await blobs.size(digest)
    with pytest.raises(FormatError):
        await read(blobs, digest)


async def test_size_limit(blobs: BlobStore, folder: Path) -> None:
    await blobs.put(digest_of(b"12345"), chunks(b"12345"), size_max=5)
    with pytest.raises(TooLargeError):
        await blobs.put(digest_of(BIG), chunks(BIG), size_max=len(BIG) - 1)
    assert leftovers(folder) == []


async def test_an_upload_that_breaks_off_leaves_nothing(blobs: BlobStore, folder: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BIG[:2_000_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(digest_of(BIG), broken(), size_max=SIZE_MAX)
    assert await blobs.size(digest_of(BIG)) is None
    assert leftovers(folder) == []


@pytest.mark.parametrize("place", [0, len(BIG) // 2, len(BIG) - 1])
async def test_damage_is_found_before_the_last_chunk_and_can_be_healed(
    blobs: BlobStore, folder: Path, place: int
) -> None:
    digest = digest_of(BIG)
    await blobs.put(digest, chunks(BIG), size_max=SIZE_MAX)
    flip(path_of(folder, digest), place)
    given: list[bytes] = []

    async def take() -> None:
        async for chunk in blobs.read(digest):
            given.append(chunk)

    with pytest.raises(FormatError, match=digest):
        await take()
    assert sum(map(len, given)) < len(BIG)
    assert await blobs.size(digest) is None
    await blobs.put(digest, chunks(BIG), size_max=SIZE_MAX)
    assert await read(blobs, digest) == BIG


async def test_a_blob_cut_short_is_damaged(blobs: BlobStore, folder: Path) -> None:
    digest = digest_of(BIG)
    for length in (0, 1 << 20, len(BIG) - 1):
        await blobs.put(digest, chunks(BIG), size_max=SIZE_MAX)
        os.truncate(path_of(folder, digest), length)
        with pytest.raises(FormatError):
            await read(blobs, digest)


async def test_concurrent_puts_of_one_blob(blobs: BlobStore, folder: Path) -> None:
    digest = digest_of(BIG)
    puts = (blobs.put(digest, chunks(BIG), size_max=SIZE_MAX) for _ in range(8))
    assert await asyncio.gather(*puts) == [len(BIG)] * 8
    assert await read(blobs, digest) == BIG
    assert leftovers(folder) == []


async def test_reading_goes_on_while_the_blob_is_put_again(blobs: BlobStore) -> None:
    digest = digest_of(BIG)
    await blobs.put(digest, chunks(BIG), size_max=SIZE_MAX)
    reading = blobs.read(digest)
    data = await anext(reading)
    await blobs.put(digest, chunks(BIG), size_max=SIZE_MAX)
    assert data + b"".join([chunk async for chunk in reading]) == BIG


async def test_leftovers_of_the_dead_go_and_uploads_of_the_living_stay(
    blobs: BlobStore, folder: Path, tmp_path: Path
) -> None:
    (folder / "incoming" / "left").write_bytes(b"half a blob")
    opened: list[BlobStore] = []

    async def slow() -> AsyncIterator[bytes]:
        yield BIG[:2_000_000]
        opened.append(open_blobs(Settings(home=tmp_path)))  # as another process would
        yield BIG[2_000_000:]

    await blobs.put(digest_of(BIG), slow(), size_max=SIZE_MAX)
    assert await read(opened[0], digest_of(BIG)) == BIG
    assert leftovers(folder) == []


async def test_a_full_disk_is_said_plainly(
    blobs: BlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="space"):
        await blobs.put(digest_of(b"x"), chunks(b"x"), size_max=SIZE_MAX)
    monkeypatch.undo()
    assert leftovers(folder) == []
    assert await blobs.size(digest_of(b"x")) is None


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
