"""What a job sees of the machine and of others. For attempts on the walls see test_attacks.py."""

import os
import threading
from pathlib import Path

from .jails import Jail


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
