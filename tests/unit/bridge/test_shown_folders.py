"""Of an installation of Python, jobs see Python: what else lies in its prefix stays unseen."""

from pathlib import Path

import pytest

from bcai.bridge.sandbox.environment import python_folders, shown_folders

PYTHON = (
    "bin/python3.11",
    "lib/libpython3.11.so.1.0",
    "lib/python3.11/os.py",
    "lib/python3.11/site-packages/tiny.py",
    "include/python3.11/Python.h",
    "pyvenv.cfg",
)
OTHER = (
    "bin/backup",
    "etc/secret.conf",
    "lib/node_modules/x.js",
    "lib/python3.12/os.py",
    "share/keys/id_ed25519",
    "src/main.py",
    ".env",
)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "usr local [x]"
    for name in (*PYTHON, *OTHER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "bin" / "python3").symlink_to("python3.11")
    return folder


def is_shown(path: Path, shown: list[str]) -> bool:
    return any(path == Path(each) or Path(each) in path.parents for each in shown)


def test_a_prefix_shows_its_python_and_nothing_else(prefix: Path) -> None:
    shown = shown_folders([str(prefix)], [], "3.11")
    assert [name for name in PYTHON if not is_shown(prefix / name, shown)] == []
    assert is_shown(prefix / "bin" / "python3", shown)
    assert [name for name in OTHER if is_shown(prefix / name, shown)] == []


def test_an_installation_of_conda_is_python_all_over(prefix: Path) -> None:
    (prefix / "conda-meta").mkdir()
    assert shown_folders([str(prefix)], [], "3.11") == [str(prefix)]


def test_the_whole_system_is_never_shown() -> None:
    assert shown_folders(["/usr", "/"], ["/usr/lib/python3"], "3.11") in ([], ["/usr/lib/python3"])
    assert {"/", "/usr", "/usr/local", "/etc"}.isdisjoint(python_folders())
