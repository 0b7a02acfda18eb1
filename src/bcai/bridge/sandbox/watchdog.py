"""What all processes of a jail use together, against the limits that no kernel limit knows.

Memory: what counts is what the kernel could not take back: anonymous and shared memory, each page
once however many processes share it (PSS). Pages of read-only files do not count.

Note [Counting processor time]
    RLIMIT_CPU is per process, so a job could have as many times its limit as it has processes. The
    sum is taken twice, and the larger counts, since each can only miss something. One is what the
    kernel adds up for living processes and the children that they have waited for; a child that
    nobody waits for (SIGCHLD ignored) is lost to it. The other adds up what each process had used
    when it was last seen; what happened between two looks is lost to that. Time that a job hides
    in very many children of a few milliseconds is bounded by its wall time alone.
"""

import os
import resource
import time
from collections.abc import Callable

from bcai.bridge.sandbox import mounts

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What is left of a disk in which the next write fails: so much, but never all of a small one.
_FULL_BYTES, _FULL_SHARE = 64 * 1024, 8
_DYING_S = 1.0
# Fields of /proc/PID/stat after the name, from 0: man proc_pid_stat, 14 to 17, 20 and 22.
_OWN_TIME, _WAITED_TIME, _THREADS, _BORN = slice(11, 13), slice(13, 15), 17, 19


def is_full(size: int, free: int) -> bool:
    """Whether a write may have failed for want of room on a disk of `size` bytes.

    An empty disk is not full, however small.
    """
    return free < min(_FULL_BYTES, size // _FULL_SHARE + 1)


class Watchdog:
    """Looks at /proc of the jail, in which every process is one of the job's.

    Attributes
    ----------
    violation
        Why the job must end: `cpu`, another word for memory, or an empty string.
    memory_bytes
        The limit.
    peak_bytes
        The most memory seen.
    """

    def __init__(
        self, memory_bytes: int, cpu_s: float | None = None, inodes: int = mounts.INODES
    ) -> None:
        self.memory_bytes = memory_bytes
        self._cpu_s = cpu_s
        self._inodes = inodes
        self._last_seen: dict[tuple[str, str], float] = {}  # a process, and its ticks
        self._gone = 0.0  # ticks of all that have ended, as last seen
        self._seen: dict[str, int] = {}
        self._ever_full: set[str] = set()
        self._full: set[str] = set()
        self.violation = ""
        self.peak_bytes = 0
        self._cpu_s_seen = 0.0

    def look(self) -> float:
        """Measure once; return the seconds that it took."""
        begin = time.monotonic()
        processes = _processes()
        self._look_at_files()
        self.look_at_time(processes)
        self._look_at_memory(processes)
        return time.monotonic() - begin

    def look_at_time(self, processes: list[str]) -> None:
        """Add up what these processes, by their numbers, have used of the processors."""
        used_s = self._used_s(processes)
        if self._cpu_s is not None and used_s >= self._cpu_s:
            # A child that is waited for meanwhile is in its own time and in its parent's: once.
            used_s = min(used_s, self._used_s(processes))
            self.violation = "cpu" if used_s >= self._cpu_s else self.violation
        self._cpu_s_seen = max(self._cpu_s_seen, used_s)

    def seen(self) -> dict[str, object]:
        """The most of everything, and what was full."""
        full, ever_full = sorted(self._full), sorted(self._ever_full)
        most = {"memory_bytes_peak": self.peak_bytes, "cpu_s": self._cpu_s_seen}
        return {**self._seen, **most, "full": full, "ever_full": ever_full}

    def _look_at_files(self) -> None:
        """Size and number of the files in the work folder, which /dev/shm shares."""
        state = os.statvfs(mounts.WORK)
        self._note("disk_bytes_peak", (state.f_blocks - state.f_bfree) * state.f_frsize)
        self._note("inodes_peak", self._inodes - state.f_ffree)  # the rest of all were ours
        found = {
            "disk": is_full(state.f_blocks * state.f_frsize, state.f_bfree * state.f_frsize),
            "inodes": not state.f_ffree,
        }
        self._full = {name for name, full in found.items() if full}
        self._ever_full |= self._full

    def _used_s(self, processes: list[str]) -> float:
        """Note [Counting processor time]."""
        threads, ticks = 0, 0.0
        living: dict[tuple[str, str], float] = {}
        for name in processes:
            fields = (_read(f"/proc/{name}/stat") or b"").rpartition(b")")[2].split()
            if not fields:
                continue
            threads += int(fields[_THREADS])
            own = float(sum(int(field) for field in fields[_OWN_TIME]))
            ticks += own + sum(int(field) for field in fields[_WAITED_TIME])
            living[name, fields[_BORN].decode()] = own
        self._note("processes_peak", threads)
        orphans = resource.getrusage(resource.RUSAGE_CHILDREN)
        waited_s = ticks / _TICKS_PER_S + orphans.ru_utime + orphans.ru_stime
        self._gone += sum(own for each, own in self._last_seen.items() if each not in living)
        self._last_seen = living
        seen_s = (self._gone + sum(living.values())) / _TICKS_PER_S
        return max(waited_s, seen_s)

    def _look_at_memory(self, processes: list[str]) -> None:
        resident = anonymous = 0
        for name in processes:
            pages = _resident_pages(name)
            resident += pages[0] * _PAGE_BYTES
            anonymous += (pages[0] - pages[1]) * _PAGE_BYTES
        # Resident memory counts shared pages many times: if even that fits, all is well.
        if resident <= self.memory_bytes:
            self.peak_bytes = max(self.peak_bytes, anonymous)
            return
        used = _shares_bytes(processes)
        if used is not None and used > self.memory_bytes:
            # Of a page that processes share while they end one by one each has a larger share than
            # the one before: taken together they are too much. So what is over is taken twice.
            again = _shares_bytes(_processes())
            used = again if again is None else min(used, again)
        if used is None:
            self.violation = "memory"  # what cannot be measured is over the limit
            return
        self.peak_bytes = max(self.peak_bytes, used)
        if used > self.memory_bytes:
            self.violation = "memory"

    def _note(self, name: str, value: int) -> None:
        self._seen[name] = max(self._seen.get(name, 0), value)


class RecentKills:
    """Whether the machine has killed some process for memory in the last second or two.

    Whose it was is not told. A process that is killed takes its time to go: as long as it has much
    memory to give back, which is why it was killed.
    """

    def __init__(self, count: Callable[[], int], now: Callable[[], float]) -> None:
        self._count = count
        self._now = now
        self._older = self._newer = count()
        self._newer_at = now()

    def look(self) -> bool:
        """Look, at least every second; whether there was one."""
        count, now = self._count(), self._now()
        is_recent = count > self._older
        if now - self._newer_at >= _DYING_S:
            self._older, self._newer, self._newer_at = self._newer, count, now
        return is_recent


def times_out_of_memory() -> int:
    """How often this machine has killed a process for memory, since it started."""
    for line in (_read("/proc/vmstat") or b"").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def has_file_of(folders: tuple[str, ...], size: int) -> bool:
    """Whether a file of at least `size` bytes lies there. Follows no links; for a job that is over.

    Libraries lose the error of a write that went beyond the limit of a file; the file tells.
    """
    pending, looked_at = list(folders), 0
    while pending and looked_at < _LOOKED_AT_MAX:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    looked_at += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.stat(follow_symlinks=False).st_size >= size:
                        return True
        except OSError:
            continue  # closed to us, or too deep: it would only have explained something
    return False


_LOOKED_AT_MAX = 100_000


def _processes() -> list[str]:
    """Numbers of the job's processes: all of the pid namespace but the first."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def _shares_bytes(processes: list[str]) -> int | None:
    """What processes have together, each shared page once; None if one cannot be measured."""
    used = 0
    for name in processes:
        share = _own_share_bytes(name)
        if share is None:
            return None
        used += share
    return used


def _resident_pages(name: str) -> tuple[int, int]:
    """Resident pages of a process, and how many of these belong to files or shared memory."""
    text = _read(f"/proc/{name}/statm")
    if not text:
        return 0, 0
    fields = text.split()
    return int(fields[1]), int(fields[2])


def _own_share_bytes(name: str) -> int | None:
    """Proportional anonymous and shared memory; 0 for a process that is gone, None if hidden."""
    text = _read(f"/proc/{name}/smaps_rollup")
    if text is None:
        return None
    kilobytes = 0
    for line in text.splitlines():
        if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
            kilobytes += int(line.split()[1])
    return kilobytes * 1024


def _read(path: str) -> bytes | None:
    """Return a file of /proc, empty for a process that is gone, None where reading is refused."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except OSError:
        return None
