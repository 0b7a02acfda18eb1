"""The ladder of jails: what stands at level C, what security levels permit, and what is refused.

Tests of level C (`alone` in their name) need a Python that the job's user may read. Where root's
home holds it, they run in processes of their own that are shown it: as an ordinary user, and as
root.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.environment import python_folders
from bcai.bridge.sandbox.jail import Cause, JailEvent, Started
from bcai.bridge.sandbox.probe import probe_alone, probe_jail

from .jails import Jail
from .test_ordinary_user import NOBODY, closed_ancestor, only_as_root, run_apart

ATTEMPT = """
def attempt(name, act):
    try:
        act()
    except BaseException as error:
        print(name, type(error).__name__)
    else:
        print(name, "OPEN")
"""


def outside_of(jail: Jail, code: str) -> str:
    """The positive control: the same script without a jail; what it printed."""
    script = jail.folder / "job.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-B", str(script)], capture_output=True, text=True, cwd=jail.folder
    )
    return done.stdout + done.stderr


@pytest.fixture(params=["cold", "warm"])
def usual(request: pytest.FixtureRequest, tmp_path: Path) -> Jail:
    """Level A or B, for jobs that may start programs."""
    report = probe_jail(programs=True)
    if report.level not in ("A", "B"):
        pytest.skip("no namespaces on this machine: " + "; ".join(report.missing))
    folder = tmp_path / "project"
    folder.mkdir()
    pool = request.getfixturevalue("zygotes") if request.param == "warm" else None
    assert pool is None or pool.is_ready("", wait_s=120, programs=True)
    return Jail(folder, security_level="standard", zygotes=pool)


@pytest.fixture
def alone(tmp_path: Path) -> Jail:
    report = probe_alone()
    if report.level != "C":
        why = "; ".join(report.missing)
        # A wall that stands and lets through is no lack of this machine.
        assert why.startswith(("readable Python:", "Landlock:", "unprivileged user:")), why
        pytest.skip(f"no level C on this machine: {why}")
    folder = tmp_path / "project"
    folder.mkdir()
    return Jail(folder, level_max="C", security_level="standard")


# As the default profile of Docker does.
CONTAINER = """
from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.seccomp import ALLOW, Condition, Rule, assemble, refuse
from bcai.bridge.sandbox.syscalls import AUDIT_ARCH, machine, numbers

number = numbers(machine())
closed = {number[name] for name in ("unshare", "setns", "mount", "pivot_root", "open_tree")}
clone = Rule([Condition(0, 0x7E020000, refuse(1), bits=True)], ALLOW)
clone3 = Rule([], refuse(38))
rules = {number["clone"]: clone, number["clone3"]: clone3}
libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
libc.seccomp_load(assemble(AUDIT_ARCH[machine()], rules, {*range(600)} - closed, closed))
found = probe_jail()
print(found.level, *found.missing, sep="\\n")
"""


@pytest.fixture
def victim() -> Generator[int, None, None]:
    """A process of the same user, which is none of the job's business."""
    process = subprocess.Popen(["sleep", "300"])
    yield process.pid
    is_alive = process.poll() is None
    process.kill()
    process.wait()
    assert is_alive, "the job has killed it"


@only_as_root
def test_level_c_for_an_ordinary_user(tmp_path: Path) -> None:
    run_apart(tmp_path, NOBODY, "-m", "not slow", "-k", "alone", "test_levels.py")


@only_as_root
@pytest.mark.slow
def test_level_c_of_a_node_run_by_root(tmp_path: Path) -> None:
    run_apart(tmp_path, 0, "-m", "not slow", "-k", "alone", "test_levels.py")


def test_alone_is_what_a_node_finds_where_namespaces_are_refused(alone: Jail) -> None:
    if probe_jail().level not in ("A", "B"):
        pytest.skip("namespaces are refused on this machine anyway: run it on one that has them")
    level, *missing = outside_of(alone, CONTAINER).splitlines()
    assert level == "C", missing
    assert "user namespace" in missing[0]
    assert "seccomp=unconfined" in missing[0]


def test_alone_runs_an_ordinary_job(alone: Jail, tmp_path: Path) -> None:
    (alone.folder / "module.py").write_text("rate = 0.1\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("1,2\n")
    code = (
        "import pathlib, sys, torch, module\n"
        "beside = pathlib.Path(__file__).with_name('train.csv')\n"
        "text = open('train.csv').read() + beside.read_text()\n"
        "model = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.AdamW(model.parameters(), lr=module.rate)\n"
        "loss = model(torch.ones(4, 2)).square().mean()\n"
        "loss.backward(); optimizer.step()\n"
        "loss = loss.item()\n"
    )
    run = replace(alone, data=data).run(code)
    assert run.exit.cause is Cause.EXITED, run.stderr
    assert run.exit.exit_status == 0, run.stderr
    assert run.values["text"] == "1,2\n1,2\n"
    assert isinstance(run.values["loss"], float)
    assert "model" in {output.name for output in run.exit.outputs}
    assert (run.exit.jail.level, run.exit.jail.asked) == ("C", "standard")
    assert run.exit.jail.limits["memory_bytes"] == 2 << 30
    assert "nothing writable" in run.exit.jail.layers


def test_alone_sees_nobody_elses_files_and_writes_none(alone: Jail, tmp_path: Path) -> None:
    other = tmp_path / "of another job.txt"
    other.write_text("secret")
    os.setxattr(other, "user.note", b"secret")
    code = ATTEMPT + (
        f"import os\nother = {str(other)!r}\n"
        "attempt('read', lambda: open(other).read())\n"
        "attempt('attribute', lambda: os.getxattr(other, 'user.note'))\n"
        "attempt('attributes', lambda: os.listxattr(other))\n"
        "attempt('list', lambda: os.listdir(os.path.dirname(other)))\n"
        "attempt('write', lambda: open(other, 'a'))\n"
        "attempt('delete', lambda: os.unlink(other))\n"
        "attempt('mode', lambda: os.chmod(other, 0o777))\n"
        "attempt('times', lambda: os.utime(other, (1, 1)))\n"
        "attempt('here', lambda: open('new.txt', 'w'))\n"
        "attempt('tmp', lambda: open('/tmp/bcai-level-c', 'w'))\n"
        "attempt('memory', lambda: open('/dev/shm/bcai-level-c', 'w'))\n"
        "attempt('own', lambda: open(__file__).read())\n"
    )
    before = other.stat()
    lines = alone.run(code).stdout.splitlines()
    assert [line for line in lines if "OPEN" in line] == ["own OPEN"], lines
    assert len(lines) == 12
    assert other.stat() == before or other.stat().st_mode == before.st_mode
    outside = outside_of(alone, code)
    for name in ("read", "attribute", "attributes", "list", "write", "here", "tmp"):
        assert f"{name} OPEN" in outside
    Path("/tmp/bcai-level-c").unlink()
    Path("/dev/shm/bcai-level-c").unlink()


def test_alone_reaches_no_other_process(alone: Jail, victim: int) -> None:
    code = ATTEMPT + (
        "import os, signal, resource, socket\n"
        f"pid = {victim}\n"
        "attempt('see', lambda: open(f'/proc/{pid}/cmdline').read())\n"
        "attempt('list', lambda: os.listdir('/proc'))\n"
        "attempt('move', lambda: os.sched_setaffinity(pid, os.sched_getaffinity(0)))\n"
        "attempt('limit', lambda: resource.prlimit(pid, resource.RLIMIT_SIGPENDING, (0, 0)))\n"
        "attempt('fork', lambda: os.fork() or os._exit(0))\n"
        "attempt('socket', lambda: socket.socketpair())\n"
        "attempt('kill', lambda: os.kill(pid, signal.SIGSTOP) or os.kill(pid, signal.SIGCONT))\n"
        "attempt('itself', lambda: os.kill(os.getpid(), 0))\n"
    )
    lines = alone.run(code).stdout.splitlines()
    assert [line for line in lines if "OPEN" in line] == ["itself OPEN"], lines
    assert len(lines) == 8
    assert outside_of(alone, code).count("OPEN") >= 8


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("open('out.txt', 'w')", "can write none"),
        ("import tempfile\ntempfile.mkstemp()", "can write none"),
        ("import os\nos.fork()", "one process"),
        ("import multiprocessing\nmultiprocessing.Pool(1)", "one process"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0))", "no sockets"),
    ],
)
def test_alone_errors_name_the_level(alone: Jail, code: str, words: str) -> None:
    exit = alone.run(code).exit
    assert exit.cause is Cause.EXCEPTION
    assert "level C" in exit.hint
    assert words in exit.hint


def test_alone_limits_end_the_job(alone: Jail) -> None:
    shared = "import mmap\nmaps = [mmap.mmap(-1, 1 << 26) for _ in range(16)]\n"
    touched = "for m in maps:\n    for i in range(0, 1 << 26, 4096): m[i] = 1\n"
    small = alone.run(shared)
    assert small.exit.exit_status == 0, "mapping alone takes no memory"
    assert alone.run(shared + touched, memory_bytes=600 << 20).exit.cause is Cause.MEMORY
    ignoring = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass\n"
    assert alone.run(ignoring, wall_s=1.0).exit.cause is Cause.WALL_TIME
    threads = "import threading, time\n" + (
        "for _ in range(100): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    assert alone.run(threads, processes=32).exit.cause is Cause.PROCESSES


def test_alone_leaves_nothing_behind(alone: Jail) -> None:
    stop = threading.Event()

    def cancel(event: JailEvent) -> None:
        if isinstance(event, Started):
            stop.set()

    alone.cancelled, alone.on_event = stop, cancel
    run = alone.run("import os, time\nprint(os.getcwd(), flush=True)\ntime.sleep(300)\n")
    assert run.exit.cause is Cause.CANCELLED
    mine = f"bcai-job-{os.getpid()}-"
    assert [path for path in Path("/tmp").iterdir() if path.name.startswith(mine)] == []


def test_a_job_never_gets_less_than_it_asks_for(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()"
    for asked, level_max in (("high", "C"), ("high", "none"), ("standard", "none")):
        with pytest.raises(NoJailError, match="security_level"):
            Jail(tmp_path, level_max=level_max, security_level=asked).run(code)
    assert not marker.exists()
    run = Jail(tmp_path, level_max="none", security_level="trusted").run(code)
    assert marker.exists(), run.exit.message


def test_a_trusted_job_without_a_jail_says_so_and_leaves_no_process(tmp_path: Path) -> None:
    jail = Jail(tmp_path, level_max="none", security_level="trusted")
    run = jail.run(
        "import os, subprocess\n"
        "daemon = subprocess.Popen(['sleep', '300'], start_new_session=True).pid\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    orphan = subprocess.Popen(['sleep', '300'], start_new_session=True).pid\n"
        "    print('orphan', orphan, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    assert run.exit.exit_status == 0, run.stderr
    assert (run.exit.jail.level, run.exit.jail.asked) == ("none", "trusted")
    assert "without any wall" in run.exit.warnings[0]
    for pid in (run.values["daemon"], int(run.stdout.split()[1])):
        with pytest.raises(ProcessLookupError):
            os.kill(int(str(pid)), signal.SIGCONT)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here: install gcc")
def test_standard_starts_programs_and_drops_no_other_wall(usual: Jail) -> None:
    code = ATTEMPT + (
        "import os, socket, subprocess, ctypes\n"
        "open('a.c', 'w').write('int main(void) { return 42; }')\n"
        "status = 0\n"
        "def build():\n"
        "    global status\n"
        "    subprocess.run(['gcc', 'a.c', '-o', 'a.out'], check=True)\n"
        "    status = subprocess.run(['./a.out']).returncode\n"
        "attempt('build', build)\n"
        "attempt('network', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))\n"
        "attempt('write', lambda: open('/usr/bin/bcai-test', 'w'))\n"
        "attempt('memfd', lambda: os.memfd_create('x'))\n"
        "mount = ['mount', '-t', 'tmpfs', 'x', '/job']\n"
        "attempt('mount', lambda: subprocess.run(mount, check=True))\n"
        "attempt('user', lambda: os.setuid(0))\n"
    )
    run = usual.run(code)
    assert run.exit.jail.start == ("cold" if usual.zygotes is None else "warm")
    assert run.values["status"] == 42, run.stdout + run.stderr
    assert [line for line in run.stdout.splitlines() if "OPEN" in line] == ["build OPEN"]
    assert "no other programs" not in run.exit.jail.layers
    assert "programs start" in run.exit.jail.layers
    high = replace(usual, security_level="high").run(code)
    assert "build PermissionError" in high.stdout
    assert high.values["status"] == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler here: install g++")
def test_torch_compile_works_under_standard_and_high_says_what_to_ask_for(usual: Jail) -> None:
    code = (
        "import torch\n"
        "double = torch.compile(lambda x: torch.sin(x) * 2 + x)\n"
        "x = torch.arange(5.0)\n"
        "same = torch.allclose(double(x), torch.sin(x) * 2 + x)\n"
    )
    run = usual.run(code, memory_bytes=4 << 30, disk_bytes=1 << 30, wall_s=280.0)
    assert run.values.get("same") is True, run.exit.message + run.stderr
    exit = replace(usual, security_level="high").run(code, memory_bytes=4 << 30).exit
    assert exit.cause is Cause.EXCEPTION
    assert 'security_level="standard"' in exit.hint


@only_as_root
def test_a_python_in_roots_home_is_named_as_what_level_c_lacks() -> None:
    if not any(closed_ancestor(folder) for folder in python_folders()):
        pytest.skip("every folder of this Python may be read by everybody")
    report = probe_alone()
    assert report.level == "none"
    assert "unprivileged user" in report.layers
    assert "cannot be read by an unprivileged user" in report.missing[0]
    assert "/opt" in report.missing[0]
