from pathlib import Path

import pytest

from bcai.bridge.sandbox.probe import probe_jail

from .jails import Jail


@pytest.fixture
def jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jail:
    report = probe_jail()
    if report.level == "none":
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    monkeypatch.setenv("BCAI_SECRET", "opensesame")
    folder = tmp_path / "project"
    folder.mkdir()
    return Jail(folder)
