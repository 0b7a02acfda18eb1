"""Every wall, with an attempt to pass it. Each attempt prints REACHED if it gets through.

The same script runs outside first and must get through there: a broken test would "prove" any wall.
"""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .jails import Jail

IS_ROOT = os.geteuid() == 0

BEFORE = """
import ctypes, errno, os, socket, sys
from bcai.bridge.sandbox.syscalls import machine, numbers
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBER = numbers(machine())
ARGUMENTS = sys.argv[1:]
def call(name, *arguments):
    result = libc.syscall(ctypes.c_long(NUMBER[name]), *(ctypes.c_long(a) for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def is_answered(name, *arguments):
    # With arguments that mean nothing, a kernel that lets the call in complains about those.
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            raise
try:
"""
AFTER = """
except BaseException as error:
    print("refused:", type(error).__name__, error)
else:
    print("REACHED")
"""


def script(body: str) -> str:
    return BEFORE + "".join(f"    {line}\n" for line in body.strip().splitlines()) + AFTER


EVERYBODY = {
    "read a secret of another folder": "open(ARGUMENTS[0]).read()",
    "see the home folders": "os.listdir(os.path.dirname(os.path.dirname(ARGUMENTS[0])))",
    "climb out with ..": "open('../' * 40 + ARGUMENTS[0]).read()",
    "follow a link out": "os.symlink(ARGUMENTS[0], 'link'); open('link').read()",
    "read the environment's secret": "os.environ['BCAI_SECRET']",
    "read the environment of its parent": (
        "assert open(f'/proc/{os.getppid()}/environ', 'rb').read()"
    ),
    "write its own script": "open(__file__, 'r+b')",
    "write the project": "open(os.path.dirname(os.path.realpath(__file__)) + '/x', 'w')",
    "see processes of the host": "assert os.path.exists(f'/proc/{ARGUMENTS[1]}')",
    "signal a process of the host": "os.kill(int(ARGUMENTS[1]), 0)",
    "connect by tcp": "socket.create_connection(('127.0.0.1', int(ARGUMENTS[2])), 5)",
    "send by udp": (
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    ),
    "open a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "connect to an abstract socket": (
        "socket.socket(socket.AF_UNIX).connect('\\0' + ARGUMENTS[3])"
    ),
    "connect to a socket file": "socket.socket(socket.AF_UNIX).connect(ARGUMENTS[4])",
    "start a program": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "start itself again": (
        "pid = os.fork()\n"
        "if not pid:\n"
        "    try: os.execv('/proc/self/exe', ['python', '-c', ''])\n"
        "    finally: os._exit(1)\n"
        "assert os.waitpid(pid, 0)[1] == 0"
    ),
    "make a file to execute in memory": "os.memfd_create('x')",
    "map code of its own from the work folder": (
        "import _ctypes, shutil; shutil.copy(_ctypes.__file__, 'own.so'); ctypes.CDLL('./own.so')"
    ),
    "be traced": "call('ptrace', 0, 0, 0, 0)",
    "read another process's memory": "is_answered('process_vm_readv', os.getpid(), 0, 0, 0, 0, 0)",
    "read its parent's memory": (
        "parent = open(f'/proc/{os.getppid()}/maps')\n"
        "assert parent.read() or open('/proc/1/mem', 'rb')"
    ),
    "take a descriptor of another process": (
        "is_answered('pidfd_getfd', os.pidfd_open(os.getpid()), 0, 0)"
    ),
    "make a user namespace": (
        "pid = os.fork()\n"
        "if not pid: os._exit(0 if libc.unshare(0x10000000) == 0 else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0"
    ),
    "become the user that it is": "os.setuid(os.getuid())",
    "use io_uring": "is_answered('io_uring_setup', 1, 0)",
    "use bpf": "is_answered('bpf', -1, 0, 0)",
    "use the kernel's keys": "is_answered('keyctl', -1, 0, 0, 0, 0)",
    "add a key": "is_answered('add_key', 0, 0, 0, 0, 0)",
    "handle its own page faults": "is_answered('userfaultfd', -1)",
    "measure the machine": "is_answered('perf_event_open', 0, 0, 0, 0, 0)",
    "use System V memory": "call('shmget', 0, 4096, 0o1600)",
    "change its personality": "call('personality', 0xffffffff)",
    "hide from the watchdog": "assert libc.prctl(4, 0) == 0",
    "loosen a filter by another": "is_answered('seccomp', 99, 0, 0)",
}  # fmt: skip

ROOT = {
    "read the password file": "open('/etc/shadow').read()",
    "write the Python environment": "open(os.__file__, 'r+b')",
    "make a device": "os.mknod('null', 0o020666, os.makedev(1, 3))",
    "open a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "open a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "mount": (
        "found = libc.mount(None, b'/nonexistent', b'tmpfs', 0, None)\n"
        "assert ctypes.get_errno() == errno.ENOENT"
    ),
    "change its root": "is_answered('chroot', 0)",
    "open a file by its handle": "is_answered('open_by_handle_at', -1, 0, 0)",
    "raise a limit": (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (101, 101))"
    ),
    "change a limit of pid 1": (
        "import resource\n"
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU,\n"
        "    resource.getrlimit(resource.RLIMIT_CPU))"
    ),
    "set the clock": "is_answered('clock_settime', 0, 0)",
    "give a file away": "open('mine', 'w').close(); os.chown('mine', 12345, 12345)",
}


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """What there is to reach outside: a secret, a process, and three kinds of server."""
    secret = tmp_path / "other-job" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("opensesame")
    abstract = f"bcai-test-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as short,  # a socket's path has at most 107 bytes
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as hidden,
        socket.socket(socket.AF_UNIX) as named,
    ):
        hidden.bind("\0" + abstract)
        place = Path(short) / "s"
        named.bind(str(place))
        hidden.listen()
        named.listen()
        yield str(secret), str(os.getpid()), str(tcp.getsockname()[1]), abstract, str(place)


def check_wall(jail: Jail, body: str, targets: tuple[str, ...]) -> None:
    jail.arguments = targets
    outside = jail.run_outside(script(body))
    (jail.folder / "link").unlink(missing_ok=True)
    for name in ("x", "own.so", "null", "mine"):
        (jail.folder / name).unlink(missing_ok=True)
    if "REACHED" not in outside and ("ENOSYS" in outside or "not implemented" in outside):
        pytest.skip("this kernel does not have the call at all: " + outside.strip())
    if "not allowed to raise maximum limit" in outside:
        pytest.skip("the control needs CAP_SYS_RESOURCE, which root lacks on this machine")
    assert "REACHED" in outside, f"the control must get through, but: {outside}"
    run = jail.run(script(body))
    assert "REACHED" not in run.stdout, run
    assert "refused" in run.stdout, run


@pytest.mark.parametrize("attempt", EVERYBODY)
def test_wall(jail: Jail, attempt: str, targets: tuple[str, ...]) -> None:
    check_wall(jail, EVERYBODY[attempt], targets)


@pytest.mark.parametrize("attempt", ROOT)
@pytest.mark.skipif(not IS_ROOT, reason="the control needs root; run the tests as root for these")
def test_wall_that_only_root_could_pass(jail: Jail, attempt: str, targets: tuple[str, ...]) -> None:
    check_wall(jail, ROOT[attempt], targets)


def test_a_job_sees_no_host_but_the_python_environment(jail: Jail) -> None:
    run = jail.run(
        "import os\n"
        "top = sorted(os.listdir('/'))\n"
        "processes = sorted(int(n) for n in os.listdir('/proc') if n.isdigit())\n"
        "who = [os.getuid(), os.getgid(), os.uname().nodename]\n"
        "status = open('/proc/self/status').read()\n"
        "words = dict(line.split(':', 1) for line in status.splitlines())\n"
        "capabilities = [words[n].strip() for n in words if n.startswith('Cap')]\n"
        "flags = [words['NoNewPrivs'].strip(), words['Seccomp'].strip()]\n"
    )
    values = run.values
    assert values["processes"] == [1, 2]
    assert values["who"] == [1000, 1000, "job"]
    assert set(map(str, values["capabilities"])) == {"0" * 16}  # type: ignore[call-overload]
    assert values["flags"] == ["1", "2"]
    assert "home" not in str(values["top"])


def test_two_jobs_at_once_do_not_see_each_other(jail: Jail, tmp_path: Path) -> None:
    other = Jail(tmp_path / "other")
    other.folder.mkdir()
    seen: list[object] = []
    code = (
        "import os, time\n"
        "open('mine', 'w').close()\n"
        "files = sorted(os.listdir('.'))\n"
        "shared = sorted(os.listdir('/dev/shm'))\n"
        "open('/dev/shm/mine', 'w').close()\n"
        "time.sleep(1)\n"
        "processes = len([n for n in os.listdir('/proc') if n.isdigit()])\n"
    )
    thread = threading.Thread(target=lambda: seen.append(other.run(code).values))
    thread.start()
    seen.append(jail.run(code).values)
    thread.join()
    assert seen == [{"files": ["job.py", "mine"], "shared": [], "processes": 2}] * 2


def test_a_folder_that_only_its_owner_may_read_is_readable_inside_and_unchanged(
    jail: Jail,
) -> None:
    (jail.folder / "table.csv").write_text("1,2\n")
    (jail.folder / "table.csv").chmod(0o600)
    jail.folder.chmod(0o700)
    run = jail.run("text = open('table.csv').read()")
    assert run.values == {"text": "1,2\n"}
    assert jail.folder.stat().st_mode & 0o777 == 0o700


def test_nothing_of_a_job_outlives_it(jail: Jail) -> None:
    mark = f"left{os.getpid()}"
    seen: list[int] = []
    jail.on_event = lambda event: seen.append(count_processes(mark))
    run = jail.run(
        "import ctypes, os, time\n"
        f"ctypes.CDLL(None).prctl(15, b'{mark}')\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(300)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print('gone', flush=True)\n"
        "time.sleep(0.5)\n"
    )
    assert run.exit.exit_status == 0
    assert max(seen) >= 1  # the control: while it ran, it was there to be seen
    assert count_processes(mark) == 0


def count_processes(mark: str) -> int:
    found = 0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += path.read_text().strip() == mark
        except OSError:
            continue
    return found
