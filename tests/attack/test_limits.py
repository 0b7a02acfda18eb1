"""Every limit: it ends the job, with its own cause, and says its number."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from bcai.bridge.sandbox.jail import Cause, JailEvent, LogText

from .at_rest import held_at_rest
from .jails import Jail

MIB = 1 << 20


@pytest.mark.parametrize(
    "code",
    [
        "kept = []\nwhile True: kept.append(bytearray(10_000_000))",
        "x = bytearray(1 << 40)",
        "import mmap\nkept = []\nwhile True:\n"
        "    kept.append(mmap.mmap(-1, 1 << 26)); kept[-1][::4096] = b'x' * (1 << 14)",
        "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n"
        "        kept = bytearray(200 << 20); time.sleep(100)\ntime.sleep(100)",
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "while True:\n    ctypes.memset(libc.malloc(1 << 24), 1, 1 << 24)",
    ],
    ids=["heap", "at once", "shared maps", "children", "malloc that is not checked"],
)
def test_memory(jail: Jail, code: str) -> None:
    run = jail.run(code, memory_bytes=512 * MIB)
    assert run.exit.cause is Cause.MEMORY, run
    assert "512.0 MiB" in run.exit.message


def test_a_memory_error_names_the_line(jail: Jail) -> None:
    run = jail.run("a = 1\nb = bytearray(1 << 40)\n", memory_bytes=512 * MIB)
    assert run.exit.cause is Cause.MEMORY
    assert run.exit.user_line == 2


def test_torch_out_of_memory(jail: Jail) -> None:
    pytest.importorskip("torch", reason="needs the extra `ml`")
    run = jail.run("import torch\nx = torch.ones(10 ** 11)", memory_bytes=1024 * MIB)
    assert run.exit.cause is Cause.MEMORY
    assert run.exit.user_line == 2


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "import time\nwhile True: time.sleep(1)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    ],
    ids=["loop", "ignores signals", "sleeps", "stops itself", "stubborn fork bomb"],
)
def test_wall_time(jail: Jail, code: str) -> None:
    run = jail.run(code, wall_s=1.0)
    assert run.exit.cause is Cause.WALL_TIME
    assert "1.0 s" in run.exit.message
    assert run.exit.wall_s >= 1.0


def test_log_bytes_keeps_what_came_before(jail: Jail) -> None:
    run = jail.run("while True: print('x' * 99)", log_bytes=100_000)
    assert run.exit.cause is Cause.LOG_BYTES
    assert "100 kB" in run.exit.message
    assert run.exit.log_bytes == 100_000
    assert run.stdout == ("x" * 99 + "\n") * 1000


def test_a_hundred_megabytes_of_output(jail: Jail) -> None:
    run = jail.run("import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000)")
    assert run.exit.cause is Cause.LOG_BYTES
    assert len(run.stdout) == 16 * MIB


@pytest.mark.parametrize(
    "code",
    [
        "f = open('x', 'wb')\nwhile True: f.write(b'x' * 1_000_000)",
        "f = open('/dev/shm/x', 'wb')\nwhile True: f.write(b'x' * 1_000_000)",
    ],
    ids=["file", "shared memory"],
)
def test_disk(jail: Jail, code: str) -> None:
    run = jail.run(code, disk_bytes=32 * MIB)
    assert run.exit.cause is Cause.DISK_BYTES, run
    assert "32.0 MiB" in run.exit.message


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.fork()",
        "import threading as t, time\nwhile True: t.Thread(target=time.sleep, args=(9,)).start()",
    ],
    ids=["fork bomb", "threads"],
)
def test_processes(jail: Jail, code: str) -> None:
    run = jail.run(code, processes=20)
    assert run.exit.cause is Cause.PROCESSES, run
    assert "limit of 20" in run.exit.message


def test_what_catches_no_error_fails_for_the_limit_all_the_same(jail: Jail) -> None:
    """A worker that gives up, a library's own words, an exit status: the reason is the limit."""
    forks = (
        "import os, sys, time\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(60)\n"
        "except OSError: {}\n"
    )
    for way_out in ("sys.exit(3)", "os._exit(3)"):
        run = jail.run(forks.format(way_out), processes=12)
        assert run.exit.cause is Cause.PROCESSES, run
        assert "limit of 12" in run.exit.message
        assert "limits.processes" in run.exit.hint
    run = jail.run("try: x = bytearray(1 << 40)\nexcept MemoryError: exit(1)")
    assert run.exit.cause is Cause.MEMORY
    assert run.exit.exit_status == 1


def test_who_met_a_limit_and_ended_well_succeeds_with_a_warning(jail: Jail) -> None:
    run = jail.run(
        "try: open('x', 'wb').write(bytes(9 << 20))\nexcept OSError as error: caught = str(error)",
        disk_bytes=8 * MIB,
    )
    assert run.exit.cause is Cause.EXITED
    assert "No space" in str(run.values["caught"])
    assert any("limits.disk" in warning for warning in run.exit.warnings)


def test_a_map_of_a_file_on_a_full_disk(jail: Jail) -> None:
    code = (
        "import mmap, os\n"
        "file = os.open('x', os.O_RDWR | os.O_CREAT)\n"
        "os.ftruncate(file, 64 << 20)\n"
        "view = mmap.mmap(file, 64 << 20)\n"
        "for at in range(0, {} << 20, 4096): view[at] = 1\n"
    )
    run = jail.run(code.format(64), disk_bytes=32 * MIB)
    assert run.exit.cause is Cause.DISK_BYTES  # and not "killed by SIGBUS"
    assert "32.0 MiB" in run.exit.message
    assert jail.run(code.format(31), disk_bytes=32 * MIB).exit.cause is Cause.EXITED


BUSY = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import os\nfor _ in range(2): os.fork()\nwhile True: pass",
        "import os\nwhile True:\n    if os.fork() == 0:\n        sum(range(10 ** 7)); os._exit(0)\n"
        "    os.wait()",
        "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n"
        "    if os.fork() == 0:\n        sum(range(10 ** 7)); os._exit(0)\n"
        "    try: os.wait()\n    except OSError: pass",
        "import signal, threading\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "def spin():\n    while True: pass\n"
        "for _ in range(3): threading.Thread(target=spin).start()",
    ],
    ids=["loop", "processes", "children one by one", "children that nobody waits for", "threads"],
)
def test_processor_time(jail: Jail, code: str) -> None:
    run = jail.run(code, cpu_s=1.0)
    assert run.exit.cause is Cause.CPU_TIME, run
    assert "1.0 s" in run.exit.message
    assert "limits.cpu" in run.exit.hint
    assert run.exit.cpu_s >= 1.0


def test_a_crash_starts_no_program_of_the_machine(jail: Jail) -> None:
    """Linux pipes a crash to the program that core_pattern names unless this limit is exactly 1."""
    code = """
import os, resource
def lower(kind):
    try:
        resource.setrlimit(kind, (0, 0))
    except ValueError:  # what Python makes of EPERM
        return "refused"
    return "done"
limits = [each for each in open("/proc/self/limits") if each.startswith("Max core file size")]
found = limits[0].split()[4:6]
told = [lower(resource.RLIMIT_CORE), lower(resource.RLIMIT_SIGPENDING)]
"""
    result = jail.run(code)
    assert result.values["found"] == ["1", "1"]
    assert result.values["told"] == ["refused", "done"]


def test_processor_time_below_the_limit(jail: Jail) -> None:
    run = jail.run(BUSY.format(0.5) + "time.sleep(2)", cpu_s=1.5)
    assert run.exit.cause is Cause.EXITED
    assert run.exit.cpu_s < 1.5 < run.exit.wall_s


@pytest.mark.parametrize(
    "code",
    [
        "open('x', 'wb').write(bytes({}))",
        "open('/dev/shm/x', 'wb').write(bytes({}))",
        "import os\nos.truncate(os.open('x', os.O_RDWR | os.O_CREAT), {})",
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "open('x', 'wb').write(bytes({}))",
        "try: open('x', 'wb').write(bytes({}))\nexcept OSError: exit(2)",
        "try: open('x', 'wb').write(bytes({}))\nexcept OSError: pass\n"
        "import os\nif os.path.getsize('x') == 1 << 20: raise ValueError('write failed')",
    ],
    ids=["file", "shared memory", "sparse", "the signal", "exit status", "a library's own error"],
)
def test_one_file(jail: Jail, code: str) -> None:
    run = jail.run(code.format(2 * MIB), file_bytes=MIB)
    assert run.exit.cause is Cause.FILE_BYTES, run
    assert "1.0 MiB" in run.exit.message
    assert "limits.file" in run.exit.hint
    assert jail.run(code.format(MIB - 1), file_bytes=MIB).exit.cause is Cause.EXITED


def test_a_write_that_nobody_waited_for_is_a_warning(jail: Jail) -> None:
    run = jail.run(f"open('x', 'wb').write(bytes({MIB + 1}))", file_bytes=MIB)
    assert run.exit.cause is Cause.EXITED  # Python only prints that the last byte was lost
    assert any("limits.file" in warning for warning in run.exit.warnings)


def test_outputs_are_no_files_of_the_job(jail: Jail) -> None:
    code = "import bcai\nbcai.output('x', bytes(3 << 20))\nbcai.output('y', bytes(1 << 20))"
    run = jail.run(code, file_bytes=4096)
    assert [len(item.content or b"") for item in run.exit.outputs] == [3 * MIB, MIB]
    assert run.exit.output_bytes == 4 * MIB


def test_number_of_files(jail: Jail) -> None:
    (jail.folder / "notes.txt").write_text("what the job brings does not count")
    code = "import os\nfor number in range({}): os.mkdir(f'{number}')\nhere = os.listdir()"
    run = jail.run(code.replace("{}", "41"), inodes=40)
    assert run.exit.cause is Cause.INODES, run
    assert "limit of 40" in run.exit.message
    assert "limits.inodes" in run.exit.hint
    run = jail.run(code.replace("{}", "40"), inodes=40)
    assert run.exit.cause is Cause.EXITED
    assert run.exit.inodes_peak == 40
    assert any("limits.inodes" in warning for warning in run.exit.warnings)


def test_no_gpu_is_there_to_be_used(jail: Jail) -> None:
    run = jail.run(
        "import glob\nseen = [*glob.glob('/dev/nvidia*'), *glob.glob('/dev/dri*'),\n"
        "        *glob.glob('/dev/kfd')]\nothers = glob.glob('/dev/null')"
    )
    assert run.values == {"seen": [], "others": ["/dev/null"]}
    assert run.exit.jail.limits["gpu_count"] == 0


def test_what_was_used_and_how_it_started_stands_on_the_result(jail: Jail) -> None:
    run = jail.run(
        "import threading, time\nopen('x', 'wb').write(bytes(3 << 20))\n"
        "threads = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(4)]\n"
        "for thread in threads: thread.start()\nprint('here')"
    )
    ended = run.exit
    assert ended.jail.start == ("cold" if jail.zygotes is None else "warm")
    assert ended.disk_bytes_peak == 3 * MIB
    assert ended.inodes_peak == 1
    assert ended.processes_peak == 5
    assert ended.log_bytes == 5
    assert ended.jail.limits["inodes"] == 65536
    assert "cpu_s" not in ended.jail.limits  # no limit of its own


def test_a_lowered_limit_cannot_be_raised_again(jail: Jail) -> None:
    run = jail.run(
        "import resource\n"
        "soft = resource.getrlimit(resource.RLIMIT_NPROC)\n"
        "try: resource.setrlimit(resource.RLIMIT_NPROC, (soft[0] + 1, soft[1] + 1))\n"
        "except ValueError as error: refused = str(error)\n"
    )
    assert run.values["soft"] == [64, 64]
    assert "refused" in run.values


def test_cancel(jail: Jail) -> None:
    def cancel_at_first_output(event: JailEvent) -> None:
        if isinstance(event, LogText):
            jail.cancelled.set()

    jail.on_event = cancel_at_first_output
    run = jail.run("import time\nprint('here', flush=True)\ntime.sleep(300)")
    assert run.exit.cause is Cause.CANCELLED
    assert run.stdout == "here\n"


def test_an_error_in_the_host_kills_the_job(jail: Jail) -> None:
    class FullError(Exception):
        pass

    def fail(event: JailEvent) -> None:
        if isinstance(event, LogText):
            raise FullError

    jail.on_event = fail
    begin = time.monotonic()
    with pytest.raises(FullError):
        jail.run("import time\nprint('here', flush=True)\ntime.sleep(1000)")
    assert time.monotonic() - begin < 500


def test_the_host_keeps_no_descriptor_and_no_thread(jail: Jail) -> None:
    jail.run("print(1)")
    before = held_at_rest()
    for code in ("print(1)", "import os; os.kill(os.getpid(), 9)", "while"):
        jail.run(code)
    assert held_at_rest() == before


def test_the_kernel_takes_a_job_before_anything_else_of_the_machine(jail: Jail) -> None:
    code = (
        "print(open('/proc/self/oom_score_adj').read())\n"
        "try: open('/proc/self/oom_score_adj', 'w').write('0')\n"
        "except OSError: print('refused')"
    )
    assert jail.run(code).stdout.split() == ["1000", "refused"]


def test_plain_values_are_not_read_beyond_what_may_travel(jail: Jail) -> None:
    code = "import bcai\nfor n in range(40): bcai.output(f'v{n}', [[]] * 240_000)"
    run = jail.run(code)
    assert run.exit.cause is Cause.OUTPUT_INVALID
    assert "8.0 MiB" in run.exit.message
    assert len(run.exit.outputs) < 20


def test_a_job_that_reads_its_own_output_is_stopped_in_time(jail: Jail) -> None:
    thief = (
        "import os\n"
        "try: own = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n"
        "except OSError: own = os.open('/dev/zero', os.O_RDONLY)\n"
        "while True:\n"
        "    os.write(1, b'x')\n"
        "    try: os.read(own, 1)\n"
        "    except BlockingIOError: pass\n"
    )
    assert jail.run(thief, wall_s=1.0).exit.cause in (Cause.WALL_TIME, Cause.LOG_BYTES)


def test_a_flood_of_metrics_is_thinned_and_said(jail: Jail) -> None:
    run = jail.run("import bcai\nfor step in range(50_000): bcai.log(step=step, loss=1.0)")
    assert run.exit.cause is Cause.EXITED
    assert len(run.metrics) < 40_000
    assert run.metrics[-1].step == 49_999
    assert any("left out" in warning for warning in run.exit.warnings)


def test_the_wall_limit_holds_while_nobody_takes_the_output(jail: Jail) -> None:
    ended = threading.Event()
    before = len(_living_descendants())  # a warm Python has others standing by

    def be_away(event: JailEvent) -> None:
        for _ in range(600 if isinstance(event, LogText) else 0):
            if len(_living_descendants()) <= before:
                ended.set()  # nothing of the jail lives, and nobody has waited for it yet
                return
            time.sleep(0.1)

    jail.on_event = be_away
    run = jail.run("print('here', flush=True)\nwhile True: pass", wall_s=1.0)
    assert run.exit.cause is Cause.WALL_TIME
    assert ended.is_set()


def test_what_a_killed_job_used_is_counted(jail: Jail) -> None:
    busy = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass\n"
    run = jail.run(busy + "print('here', flush=True)\ntime.sleep(600)", wall_s=20.0)
    assert run.exit.cause is Cause.WALL_TIME
    assert run.exit.cpu_s >= 1


def _living_descendants() -> set[int]:
    """Processes below this one that are not dead."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    for pid in parents:
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and pid != above:
            found.add(pid)
    return found
