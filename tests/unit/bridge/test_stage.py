import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from bcai.bridge.sandbox.stage import new_folder, remove_folder, stage


@pytest.fixture(autouse=True)
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def inputs(folder: Path) -> tuple[str, str]:
    project, data = folder / "p", folder / "d"
    (project / "package").mkdir(parents=True)
    (project / "main.py").write_text("print(1)")
    (project / "package" / "part.py").write_text("x = 1")
    data.mkdir()
    (data / "train.csv").write_text("1,2")
    (data / "train.csv").chmod(0o600)
    (data / "latest").symlink_to("train.csv")
    return str(project), str(data)


def test_a_job_starts_among_links_to_its_files(tmp_path: Path) -> None:
    places = stage(new_folder(), *inputs(tmp_path), None)
    work = Path(places.work)
    assert sorted(path.name for path in work.iterdir()) == [
        "latest",
        "main.py",
        "package",
        "train.csv",
    ]
    assert (work / "package" / "part.py").read_text() == "x = 1"
    assert (work / "latest").read_text() == "1,2"
    assert places.project == str(tmp_path / "p")
    assert places.other not in places.readable


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: nobody can be given a file")
def test_another_user_gets_copies_that_are_theirs(tmp_path: Path) -> None:
    project, data = inputs(tmp_path)
    places = stage(new_folder(), project, data, 12345)
    assert places.data is not None
    copied = Path(places.data, "train.csv")
    assert (copied.stat().st_uid, copied.stat().st_mode & 0o777) == (12345, 0o400)
    assert copied.read_text() == "1,2"
    assert Path(places.work, "latest").read_text() == "1,2"
    assert Path(data, "train.csv").stat().st_uid == 0, "the original stays as it was"
    for place in places.readable:
        assert Path(place).stat().st_uid == 12345


def test_what_a_killed_launcher_left_goes_with_the_next_folder(own_temporary: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = own_temporary / f"bcai-job-{gone.pid}-abc"
    alive = own_temporary / f"bcai-job-{os.getpid()}-abc"
    foreign = own_temporary / "bcai-jobs"
    for folder in (left, alive, foreign):
        folder.mkdir()
    folder = new_folder()
    assert not left.exists()
    assert alive.exists()
    assert foreign.exists()
    remove_folder(folder)
    assert not Path(folder).exists()
