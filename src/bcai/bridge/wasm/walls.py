"""The second wall around a module: what a hole in its engine would still not reach.

The first is WebAssembly itself. These are the jail's own Landlock and seccomp, without its
namespaces; where the kernel has none the report says one layer less, and the job runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bcai.bridge.sandbox import landlock, libc
from bcai.bridge.sandbox.syscall_policy import job_filter
from bcai.bridge.sandbox.syscalls import machine

_SYSTEM = ("/usr", "/lib", "/lib64", "/proc/self", "/sys/devices/system/cpu", "/sys/fs/cgroup")


def put_up_walls(writable: Sequence[Path]) -> list[str]:
    """Confine this process for good; return the layers that stand.

    Parameters
    ----------
    writable
        The folders that it works in. Beside them it reads Python and the system's libraries.
    """
    layers: list[str] = []
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    own = {sys.prefix, sys.base_prefix, *sys.path, *_SYSTEM}
    readable = sorted(place for place in own if place and Path(place).exists())
    try:
        abi = landlock.restrict(readable, [str(folder) for folder in writable], [])
        layers.append(f"Landlock ABI {abi}: its own folder, Python and libraries")
    except OSError:
        pass
    try:
        libc.seccomp_load(job_filter(machine()))
        layers.append("seccomp: no programs, no network")
    except OSError:
        pass
    return layers
