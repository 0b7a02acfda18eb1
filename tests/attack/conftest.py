from collections.abc import Generator
from pathlib import Path

import pytest

from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool

from .jails import Jail
from .record import write_down


@pytest.fixture(scope="session")
def zygotes() -> Generator[ZygotePool, None, None]:
    pool = ZygotePool(ZygotePolicy())
    assert pool.is_ready("", wait_s=120)
    yield pool
    pool.close()


@pytest.fixture(params=["cold", "warm"])
def jail(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jail:
    report = probe_jail()
    if report.level == "none":
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    monkeypatch.setenv("BCAI_SECRET", "opensesame")
    folder = tmp_path / "project"
    folder.mkdir()
    pool = request.getfixturevalue("zygotes") if request.param == "warm" else None
    return Jail(folder, zygotes=pool)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    write_down(report)
