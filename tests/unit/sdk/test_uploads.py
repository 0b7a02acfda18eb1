"""Files are sent once by content."""

from pathlib import Path

import pytest

from bcai.base.digest import digest_of
from bcai.base.errors import ForbiddenError, InputError
from bcai.jobs.spec import Mount
from bcai.sdk.folder import LocalFile, data_files
from bcai.sdk.transport import Transport
from bcai.sdk.uploads import upload_files

from .fake_gateway import FakeGateway, problem

pytestmark = pytest.mark.anyio


def methods(gateway: FakeGateway) -> list[str]:
    return [request.method for request in gateway.requests]


async def test_only_what_is_not_there_is_sent(
    transport: Transport, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(b"a" * 3_000_000)
    (tmp_path / "b.csv").write_bytes(b"")
    gateway.blobs[digest_of(b"")] = b""
    messages = await upload_files(transport, data_files([tmp_path / "a.csv", tmp_path / "b.csv"]))
    assert [(message.path, message.size) for message in messages] == [
        ("a.csv", 3_000_000),
        ("b.csv", 0),
    ]
    assert sorted(methods(gateway)) == ["HEAD", "HEAD", "PUT"]
    assert gateway.blobs[messages[0].digest] == b"a" * 3_000_000


async def test_a_second_time_nothing_is_sent(
    transport: Transport, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(b"same")
    for _ in range(2):
        await upload_files(transport, data_files([tmp_path / "a.csv"]))
    assert methods(gateway).count("PUT") == 1


async def test_a_file_that_grows_meanwhile_is_named(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "growing.log"
    path.write_bytes(b"long enough")
    seen_smaller = LocalFile(path, "growing.log", 3, Mount.DATA)
    with pytest.raises(InputError, match=r"growing\.log.*changed"):
        await upload_files(transport, [seen_smaller])


async def test_a_file_that_is_gone_meanwhile_is_named(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv"):
        await upload_files(transport, [LocalFile(tmp_path / "gone.csv", "gone.csv", 3, Mount.DATA)])


async def test_the_gateways_refusal_is_raised_as_it_is(
    transport: Transport, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(b"a")
    gateway.failures = [problem(ForbiddenError("not for you"))]
    with pytest.raises(ForbiddenError, match="not for you"):
        await upload_files(transport, data_files([tmp_path / "a.csv"]))
