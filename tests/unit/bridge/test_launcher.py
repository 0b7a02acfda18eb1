import threading
from pathlib import Path

import pytest

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox import launcher
from bcai.bridge.sandbox.environment import outermost
from bcai.bridge.sandbox.jail import JailEvent, JailLimits, JailRequest
from bcai.bridge.sandbox.level import JailReport


def test_without_the_whole_jail_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = JailReport("none", missing=("Landlock: not offered. Needed: Linux 5.13",))

    def probe_jail(level_max: str, *, programs: bool) -> JailReport:
        return weak

    monkeypatch.setattr(launcher, "probe_jail", probe_jail)
    (tmp_path / "job.py").write_text("open('ran', 'w')")
    limits = JailLimits(1.0, 1 << 30, 1 << 20, 1 << 20, 1 << 20, 16)
    seen: list[JailEvent] = []
    with pytest.raises(NoJailError, match="Landlock: not offered"):
        launcher.launch(
            JailRequest(tmp_path, "job.py", None, (), limits), seen.append, threading.Event()
        )
    assert seen == []
    assert not (tmp_path / "ran").exists()


def test_a_folder_inside_another_is_shown_once() -> None:
    assert outermost(["/a/b", "/a", "/ab", "/a/b/c", "/a"]) == ["/a", "/ab"]
