"""The same attempts and limits when the node is run by an ordinary user, without any right of root.

Run as root, these tests become such a user. Where the Python installation lies in a folder of
root's, it is shown to everybody in a mount namespace of the test's own (a root that builds level C
needs that, too), and where control groups of version 1 are mounted, the user is handed one, so that
level A is there as well. Nothing changes for the rest of the machine.
"""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest

from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.environment import python_folders

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]
GROUPS = [Path("/sys/fs/cgroup", kind) for kind in ("memory", "pids")]
_numbers = count(1)

only_as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="not root: every other test here runs as an ordinary user already"
)


@only_as_root
def test_the_most_telling_attempts_and_limits(tmp_path: Path) -> None:
    limits = [f"test_limits.py::test_{name}" for name in ("memory", "processes", "disk")]
    which = ("-m", "not slow", "-k", "best-cold or memory or processes or disk")
    run_apart(tmp_path, NOBODY, *which, "test_attacks.py", *limits)


@only_as_root
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_attempt_at_every_level(tmp_path: Path) -> None:
    run_apart(tmp_path, NOBODY, "-m", "slow", "test_attacks.py")


@only_as_root
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_attempt_at_level_c_of_a_node_run_by_root(tmp_path: Path) -> None:
    run_apart(tmp_path, 0, "-m", "slow", "-k", "C-cold", "test_attacks.py")


def run_apart(folder: Path, user: int, *what: str) -> None:
    """Run tests in a process of their own, as a user, with a Python that everybody may read."""
    done = make_apart(folder, user, *what)
    assert done.returncode == 0, done.stdout + done.stderr
    if "." not in done.stdout:
        pytest.skip("this user cannot build the jail on this machine: " + done.stdout)


def make_apart(
    folder: Path, user: int, *what: str, keep: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """The same, and whatever came of it.

    Parameters
    ----------
    keep
        Descriptors that the tests inherit.
    """
    place = folder / "tests"
    place.mkdir()
    os.chown(place, user, user)
    with groups_for_nobody() as groups:
        return subprocess.run(
            [sys.executable, __file__, str(place), str(user), groups, *what],
            capture_output=True,
            text=True,
            timeout=3500,
            check=False,
            pass_fds=keep,
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY / "src"),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )


@contextlib.contextmanager
def groups_for_nobody() -> Generator[str, None, None]:
    """A control group that belongs to the user, as systemd would make one; its name, or nothing."""
    name = f"bcai-user-{os.getpid()}-{next(_numbers)}"
    made: list[Path] = []
    try:
        for parent in GROUPS:
            (parent / name).mkdir()
            made.append(parent / name)
            for path in (parent / name, parent / name / "cgroup.procs"):
                os.chown(path, NOBODY, NOBODY)
        yield name
    except (FileNotFoundError, PermissionError):  # no version 1 here, or it is not ours
        yield ""
    finally:
        for folder in made:
            for left in folder.glob("bcai-*"):  # of tests that were killed
                left.rmdir()
            folder.rmdir()


def show_python(place: str) -> None:
    """Show this process, and whomever it becomes, what it needs of root's folders."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    needed = [*python_folders(), str(REPOSITORY), place]
    trees = {folder: libc.open_tree(folder) for folder in needed}
    closed = {closed_ancestor(folder) for folder in needed} - {None}
    for folder in closed:
        libc.mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
    for folder, tree in trees.items():
        if any(str(folder).startswith(f"{top}/") for top in closed):
            is_folder = stat.S_ISDIR(os.fstat(tree).st_mode)
            Path(folder if is_folder else Path(folder).parent).mkdir(parents=True, exist_ok=True)
            if not is_folder:
                Path(folder).touch()
            libc.move_mount(tree, folder)
        os.close(tree)


def become(user: int, groups: str) -> None:
    """Enter the control group that was made for this user, and give up root."""
    if groups and user:
        for parent in GROUPS:
            (parent / groups / "cgroup.procs").write_text(str(os.getpid()))
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def closed_ancestor(folder: str) -> Path | None:
    """Outermost folder on the way that others may not pass."""
    for parent in reversed(Path(folder).parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            return parent
    return None


if __name__ == "__main__":
    _, home, number, groups, *what = sys.argv
    show_python(home)
    become(int(number), groups)
    os.environ["HOME"] = home
    here = str(Path(__file__).parent)
    what = [f"{here}/{word}" if word.startswith("test_") else word for word in what]
    options = ["-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={home}/t", *what]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *options])
