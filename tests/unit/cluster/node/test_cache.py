import os
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from bcai.base.digest import digest_of
from bcai.base.errors import NotFoundError
from bcai.cluster.node.cache import BlobCache

CONTENT = b"some data" * 1000


class Source:
    """Blobs in memory; counts what is asked for."""

    def __init__(self, *contents: bytes) -> None:
        self.blobs = {digest_of(content): content for content in contents}
        self.asked = Counter[str]()

    async def download(self, digest: str) -> AsyncGenerator[bytes, None]:
        self.asked[digest] += 1
        if digest not in self.blobs:
            raise NotFoundError(f"no {digest}")
        content = self.blobs[digest]
        for begin in range(0, len(content), 4096):
            yield content[begin : begin + 4096]


def make_cache(folder: Path, source: Source, bytes_max: int = 10**9) -> BlobCache:
    return BlobCache(folder / "cache", source.download, bytes_max=bytes_max)


@pytest.mark.anyio
async def test_a_blob_is_fetched_once_and_read_only(tmp_path: Path) -> None:
    source = Source(CONTENT)
    cache = make_cache(tmp_path, source)
    digest = digest_of(CONTENT)
    for name in ("first", "second"):
        await cache.link(digest, len(CONTENT), tmp_path / name)
        assert (tmp_path / name).read_bytes() == CONTENT
        assert (tmp_path / name).stat().st_mode & 0o222 == 0
    assert source.asked == {digest: 1}


@pytest.mark.anyio
async def test_two_jobs_that_want_the_same_blob_fetch_it_once(tmp_path: Path) -> None:
    source = Source(CONTENT)
    cache = make_cache(tmp_path, source)
    digest = digest_of(CONTENT)
    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(cache.link, digest, len(CONTENT), tmp_path / name)
    assert source.asked == {digest: 1}


@pytest.mark.anyio
async def test_an_empty_blob(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, Source(b""))
    await cache.link(digest_of(b""), 0, tmp_path / "empty")
    await cache.link(digest_of(b""), 0, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == b""


@pytest.mark.anyio
async def test_what_was_damaged_on_disk_is_fetched_anew(tmp_path: Path) -> None:
    source = Source(CONTENT)
    cache = make_cache(tmp_path, source)
    digest = digest_of(CONTENT)
    await cache.link(digest, len(CONTENT), tmp_path / "first")
    (tmp_path / "first").chmod(0o644)
    (tmp_path / "first").write_bytes(CONTENT[::-1])
    await cache.link(digest, len(CONTENT), tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == CONTENT
    assert source.asked[digest] == 2


@pytest.mark.anyio
async def test_a_blob_that_nobody_has_is_not_there_and_leaves_nothing(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, Source())
    with pytest.raises(NotFoundError):
        await cache.link(digest_of(CONTENT), len(CONTENT), tmp_path / "file")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.anyio
async def test_eviction_takes_the_oldest_and_leaves_what_a_job_uses(tmp_path: Path) -> None:
    old, new = b"o" * 1000, b"n" * 1000
    source = Source(old, new)
    cache = make_cache(tmp_path, source, bytes_max=1500)
    for name, content in (("old", old), ("new", new)):
        await cache.link(digest_of(content), 1000, tmp_path / name)
    os.utime(tmp_path / "old", (1, 1))
    cache.evict()
    assert (tmp_path / "old").read_bytes() == old
    kept = [path.read_bytes() for path in (tmp_path / "cache").iterdir()]
    assert kept == [new]


def test_leftovers_of_a_killed_node_are_removed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.part").write_bytes(b"half")
    make_cache(tmp_path, Source())
    assert list((tmp_path / "cache").iterdir()) == []
