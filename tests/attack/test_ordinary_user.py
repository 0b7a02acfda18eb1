"""The same walls and limits when the node is run by an ordinary user, without any right of root.

Run as root, this test becomes such a user. Where the Python installation lies in a folder of
root's, the user is shown it in a mount namespace of the test's own; nothing on the machine changes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.environment import python_folders

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="not root: every other test here runs as an ordinary user already"
)
def test_walls_and_limits_for_an_ordinary_user(tmp_path: Path) -> None:
    place = tmp_path / "tests"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, __file__, str(place)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "." not in done.stdout:
        pytest.skip("an ordinary user cannot build the jail on this machine: " + done.stdout)


def become_nobody(place: str) -> None:
    """Show this process what it needs of root's folders, and give up root."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    needed = [*python_folders(), str(REPOSITORY), place]
    trees = {folder: libc.open_tree(folder) for folder in needed}
    closed = {closed_ancestor(folder) for folder in needed} - {None}
    for folder in closed:
        libc.mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
    for folder, tree in trees.items():
        if any(str(folder).startswith(f"{top}/") for top in closed):
            Path(folder).mkdir(parents=True, exist_ok=True)
            libc.move_mount(tree, folder)
        os.close(tree)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def closed_ancestor(folder: str) -> Path | None:
    """Outermost folder on the way that others may not pass."""
    for parent in reversed(Path(folder).parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            return parent
    return None


if __name__ == "__main__":
    become_nobody(sys.argv[1])
    os.environ["HOME"] = sys.argv[1]
    here = str(Path(__file__).parent)
    files = [f"{here}/test_walls.py", f"{here}/test_limits.py::test_memory"]
    files += [f"{here}/test_limits.py::test_processes", f"{here}/test_limits.py::test_disk"]
    options = ["-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={sys.argv[1]}/t", *files]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *options])
