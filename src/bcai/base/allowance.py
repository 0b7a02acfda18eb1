"""Memory and processors that this process may use: the machine's, or a container's share."""

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_bytes(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int:
    """Memory that this process may use: the machine's, or less in a container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    caps = _read(groups, own, "", "memory.max")  # version 2, which says "max" where there is none
    caps += _read(groups, own, "memory", "memory.limit_in_bytes")
    return min([total, *(int(text) for text in caps if text.isdigit())])


def core_count(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int:
    """Processors that this process may run on, or the time of so many, rounded up."""
    cores = [len(os.sched_getaffinity(0))]
    quotas = _read(groups, own, "", "cpu.max")  # version 2: `max 100000` where there is none
    v1 = [_read(groups, own, "cpu", f"cpu.cfs_{part}_us") for part in ("quota", "period")]
    quotas += [" ".join(pair) for pair in zip(*v1, strict=False)]  # version 1: -1 for none
    for text in quotas:
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            cores.append(max(1, -(-int(quota) // int(period))))
    return min(cores)


def _read(groups: Path, own: Path, controller: str, name: str) -> list[str]:
    """What a file says in each control group that this process is in, the innermost first."""
    found: list[str] = []
    for folder in _folders(groups, own, controller):
        try:
            found.append((folder / name).read_text("ascii", "replace").strip())
        except OSError:
            continue
    return found


def _folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of a controller's groups; in a container the outermost one is the container's."""
    root = groups / controller
    path = _own_path(own, controller)
    depth = 0 if ".." in path else len(path)  # a group outside of our namespace is not to be seen
    for count in range(depth, -1, -1):
        yield root.joinpath(*path[:count])


def _own_path(own: Path, controller: str) -> list[str]:
    try:
        lines = own.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    for line in lines:  # `4:memory:/user/1`, and `0::/user/1` for version 2
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return [part for part in path.split("/") if part]
    return []
