"""A control group for one job: hard memory and process limits over all its processes together.

Version 1: a child of our own groups of the `memory` and `pids` controllers. Version 2: a sibling of
our own group, where the parent hands both controllers down and lets us (systemd: `Delegate=yes`).
Version 2 is written to the kernel's documentation; the machines that test this code have version 1.
Source: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, .../cgroup-v2.html
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_REMOVE_TRIES, _REMOVE_PAUSE_S = 200, 0.01
_OWN_PROCESSES = 8  # the jail's own, which the job does not see


class Cgroup:
    """Folders of one group, one per controller in version 1.

    Attributes
    ----------
    version
        1 or 2.
    """

    def __init__(self, version: int, memory: Path, pids: Path) -> None:
        self.version = version
        self._memory = memory
        self._pids = pids

    def limit(self, limits: "GroupLimits") -> None:
        """Set the limits, with no swap beyond them. OSError where they are refused."""
        memory_bytes = limits.memory_bytes
        files = {"memory.max": memory_bytes, "memory.swap.max": 0}
        if self.version == 1:
            files = dict.fromkeys(
                ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), memory_bytes
            )
        for name, value in files.items():
            # A kernel that does not count swap has no file for it.
            if "sw" not in name or (self._memory / name).exists():
                (self._memory / name).write_text(str(value))
        (self._pids / "pids.max").write_text(str(limits.processes + _OWN_PROCESSES))

    def add(self, pid: int) -> None:
        """Put a process, and all it starts from now on, into the group."""
        for folder in self._folders():
            (folder / "cgroup.procs").write_text(str(pid))

    def open_doors(self) -> list[int]:
        """Descriptors through which a process that has them can enter the group, itself only.

        It writes "0" to each. The kernel asks whether we, who opened them, may do that.
        """
        names = [folder / "cgroup.procs" for folder in self._folders()]
        return [os.open(name, os.O_WRONLY | os.O_CLOEXEC) for name in names]

    def was_out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the group for want of its own memory."""
        return self._had_kills() and self._met_its_limit()

    def was_taken(self) -> bool:
        """Whether the kernel killed one because the machine had no memory; the group had some."""
        return self._had_kills() and not self._met_its_limit()

    def _had_kills(self) -> bool:
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._counted(name, "oom_kill")

    def _met_its_limit(self) -> bool:
        if self.version == 1:
            return self._counted("memory.failcnt") or self._counted("memory.memsw.failcnt")
        return self._counted("memory.events", "oom")

    def _counted(self, name: str, event: str = "") -> bool:
        """Whether a file that counts, perhaps one of several events, is not at 0."""
        try:
            lines = (self._memory / name).read_text().splitlines()
        except OSError:  # a kernel that does not count this
            return False
        counts = {event: count for event, _, count in (line.rpartition(" ") for line in lines)}
        return int(counts.get(event, 0)) > 0

    def remove(self) -> None:
        """Delete the group; the kernel may need a moment after its last process."""
        for folder in self._folders():
            for _ in range(_REMOVE_TRIES):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_REMOVE_PAUSE_S)
                else:
                    break

    def _folders(self) -> list[Path]:
        return [self._memory] if self._memory == self._pids else [self._memory, self._pids]


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What all processes of one job may have together."""

    memory_bytes: int
    processes: int


def new_cgroup(name: str, limits: GroupLimits | None = None) -> Cgroup | None:
    """Make a group, or return None where this machine does not let us."""
    for find in (_find_version_1, _find_version_2):
        group = _try(find, name)
        if group is None:
            continue
        try:
            if limits is not None:
                group.limit(limits)
        except OSError:
            group.remove()
        else:
            return group
    return None


def group_name(purpose: str) -> str:
    """Name for a group of this process, by which others see when it is left over."""
    return f"bcai-{os.getpid()}-{purpose}"


def _remove_leftovers(parent: Path) -> None:
    """Delete the empty groups of launchers that were killed before they could."""
    for folder in parent.glob("bcai-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with contextlib.suppress(OSError):  # still in use, or gone
                folder.rmdir()


def _try(find: Callable[[dict[str, str], str], Cgroup | None], name: str) -> Cgroup | None:
    try:
        return find(_own_groups(), name)
    except OSError:
        return None


def _own_groups() -> dict[str, str]:
    """Our own group by controller; the empty name is version 2."""
    groups: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _find_version_1(groups: dict[str, str], name: str) -> Cgroup | None:
    if "memory" not in groups or "pids" not in groups:
        return None
    folders = [_MOUNT / kind / groups[kind].lstrip("/") / name for kind in ("memory", "pids")]
    if not all(os.access(folder.parent, os.W_OK) for folder in folders):
        return None
    group = Cgroup(1, folders[0], folders[1])
    try:
        for folder in folders:
            _remove_leftovers(folder.parent)
            folder.mkdir()
    except OSError:
        group.remove()
        return None
    return group


def _find_version_2(groups: dict[str, str], name: str) -> Cgroup | None:
    own = groups.get("", "/")
    parent = (_MOUNT / own.lstrip("/")).parent
    if own == "/" or not {"memory", "pids"} <= set(
        (parent / "cgroup.subtree_control").read_text().split()
    ):
        return None
    folder = parent / name
    _remove_leftovers(parent)
    folder.mkdir()
    return Cgroup(2, folder, folder)
