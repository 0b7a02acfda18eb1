from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bcai.base.digest import digest_of
from bcai.base.errors import NotFoundError
from bcai.cluster.node.cache import BlobCache
from bcai.cluster.node.inputs import build_folders
from bcai.jobs.spec import FileRef, JobSpec, Mount

BLOBS = {digest_of(content): content for content in (b"import model\n", b"1,2\n", b"")}


async def download(digest: str) -> AsyncGenerator[bytes, None]:
    if digest not in BLOBS:
        raise NotFoundError(f"no {digest}")
    yield BLOBS[digest]


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache", download, bytes_max=10**6)


def file(path: str, content: bytes, mount: Mount = Mount.PROJECT) -> FileRef:
    return FileRef(path, digest_of(content), len(content), mount)


@pytest.mark.anyio
async def test_project_and_data_get_their_own_folders(tmp_path: Path, cache: BlobCache) -> None:
    files = (
        file("main.py", b"import model\n"),
        file("pkg/copy.py", b"import model\n"),
        file("pkg/__init__.py", b""),
        file("train.csv", b"1,2\n", Mount.DATA),
    )
    await build_folders(JobSpec("job", entry="main.py", files=files), tmp_path / "job", cache)
    found = {
        str(path.relative_to(tmp_path / "job")): path.read_bytes()
        for path in (tmp_path / "job").rglob("*")
        if path.is_file()
    }
    assert found == {
        "project/main.py": b"import model\n",
        "project/pkg/copy.py": b"import model\n",
        "project/pkg/__init__.py": b"",
        "data/train.csv": b"1,2\n",
    }


@pytest.mark.anyio
async def test_a_script_becomes_a_file_of_its_name(tmp_path: Path, cache: BlobCache) -> None:
    spec = JobSpec("job", code="print('ö\udcff')", code_name="train.py")
    await build_folders(spec, tmp_path / "job", cache)
    script = tmp_path / "job" / "project" / "train.py"
    assert script.read_bytes() == "print('ö\udcff')".encode("utf-8", "surrogatepass")


@pytest.mark.anyio
async def test_a_missing_file_is_named(tmp_path: Path, cache: BlobCache) -> None:
    lost = file("lost.bin", b"lost")
    spec = JobSpec("job", code="1", files=(lost,))
    with pytest.raises(NotFoundError, match=lost.digest):
        await build_folders(spec, tmp_path / "job", cache)
