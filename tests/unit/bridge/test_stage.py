import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from bcai.bridge.sandbox.stage import own_folder, stage


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
    folder = tmp_path / "made"
    folder.mkdir()
    places = stage(str(folder), *inputs(tmp_path), None)
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
    folder = tmp_path / "made"
    folder.mkdir()
    places = stage(str(folder), project, data, 12345)
    assert places.data is not None
    copied = Path(places.data, "train.csv")
    assert (copied.stat().st_uid, copied.stat().st_mode & 0o777) == (12345, 0o400)
    assert copied.read_text() == "1,2"
    assert Path(places.work, "latest").read_text() == "1,2"
    assert Path(data, "train.csv").stat().st_uid == 0, "the original stays as it was"
    for place in places.readable:
        assert Path(place).stat().st_uid == 12345


HOLDER = """
import sys
from bcai.bridge.sandbox.stage import own_folder
with own_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["here", "another pid namespace"])
def launcher(
    request: pytest.FixtureRequest, own_temporary: Path
) -> Generator[subprocess.Popen[str], None, None]:
    """Another process that holds a folder, as in another container with the same /tmp."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    apart = unshare if request.param != "here" else []
    if apart and subprocess.run([*apart, "true"], check=False).returncode != 0:
        pytest.skip("needs user and pid namespaces; allow them, or run it outside of a container")
    holder = subprocess.Popen(
        [*apart, sys.executable, "-c", HOLDER],
        env={**os.environ, "TMPDIR": str(own_temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        yield holder
        holder.kill()


def test_the_folder_of_a_launcher_that_lives_is_left_alone(
    launcher: "subprocess.Popen[str]", own_temporary: Path
) -> None:
    assert launcher.stdout is not None
    theirs = Path(launcher.stdout.readline().strip())
    foreign = own_temporary / "bcai-jobs"
    foreign.mkdir()
    with own_folder() as ours:
        assert theirs.is_dir()
        assert Path(ours).parent == theirs.parent == own_temporary
        launcher.kill()  # as nothing can be done about: it leaves its folder behind
        launcher.wait()
        assert launcher.stdout.read() == ""  # the end: whoever held it has gone, too
        assert theirs.is_dir()
        with own_folder():
            assert not theirs.exists()
            assert Path(ours).is_dir()
    assert not Path(ours).exists()
    assert foreign.is_dir()
