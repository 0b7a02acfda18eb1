"""The shelf is tidied beside the jobs: what goes wrong there is no job's end."""

from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from bcai.cluster.node import tidy_evidence
from bcai.cluster.node.doorbell import Doorbell
from bcai.cluster.node.evidence_shelf import EVIDENCE, keep_job
from bcai.cluster.node.tidy_evidence import keep_tidy
from bcai.settings import NodeSettings, Settings

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30.0):
        while not condition():
            await anyio.lowlevel.checkpoint()


def keep(shelf: Path, name: str) -> None:
    file = shelf.parent / "file"
    file.write_bytes(bytes(600 << 10))
    keep_job(shelf / name, {"file": file})
    file.unlink()


async def test_it_looks_at_once_and_after_each_job_and_survives_what_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tidy_evidence, "REST", 0.0)
    settings = Settings(home=tmp_path, node=NodeSettings(evidence_mb=1))
    settings.node_folder.mkdir()
    shelf, ended = settings.node_folder / EVIDENCE, Doorbell()
    shelf.write_text("not a folder")
    async with anyio.create_task_group() as group:
        group.start_soon(keep_tidy, settings, ended)
        await until(lambda: "cannot be tidied" in caplog.text)
        shelf.unlink()
        for name in ("job_1", "job_2"):
            keep(shelf, name)
        ended.ring()
        await until(lambda: {each.name for each in shelf.iterdir()} == {"job_2"})
        group.cancel_scope.cancel()
