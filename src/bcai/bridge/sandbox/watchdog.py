"""The sum of the memory of all processes of a jail, against the limit.

What counts is what the kernel could not take back: anonymous and shared memory, each page once
however many processes share it (PSS). Pages of read-only files do not count.
"""

import os
import time

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watchdog:
    """Looks at /proc of the jail, in which every process is one of the job's.

    Attributes
    ----------
    violation
        Why the job must end, or an empty string.
    peak_bytes
        The most memory seen.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.violation = ""
        self.peak_bytes = 0

    def look(self) -> float:
        """Measure once; return the seconds that it took."""
        begin = time.monotonic()
        processes = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        resident = anonymous = 0
        for name in processes:
            pages = _resident_pages(name)
            resident += pages[0] * _PAGE_BYTES
            anonymous += (pages[0] - pages[1]) * _PAGE_BYTES
        # Resident memory counts shared pages many times: if even that fits, all is well.
        if resident <= self._limit_bytes:
            self.peak_bytes = max(self.peak_bytes, anonymous)
            return time.monotonic() - begin
        used = 0
        for name in processes:
            share = _own_share_bytes(name)
            if share is None:
                self.violation = "hidden"  # what cannot be measured is over the limit
                return time.monotonic() - begin
            used += share
        self.peak_bytes = max(self.peak_bytes, used)
        if used > self._limit_bytes:
            self.violation = "sum"
        return time.monotonic() - begin


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
