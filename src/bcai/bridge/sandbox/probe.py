"""Can this machine build the jail? Found out by building one and trying its walls from inside."""

import json
import os
import threading
import time
from dataclasses import replace

from bcai.base.errors import NoJailError
from bcai.base.units import MIB
from bcai.bridge.sandbox.cgroup import GroupLimits, group_name, new_cgroup
from bcai.bridge.sandbox.environment import own_python
from bcai.bridge.sandbox.level import LEVELS, JailReport
from bcai.bridge.sandbox.outputs import new_output_file
from bcai.bridge.sandbox.process import (
    JailProcess,
    environment_binds,
    program_binds,
    start_jail,
)
from bcai.bridge.sandbox.start_alone import PROBE_PROCESSES, start_alone

_MEMORY_BYTES = 512 * MIB
_DISK_BYTES = MIB
_REPORT_BYTES_MAX = 1 << 20

NO_CGROUP = (
    "cgroup: run the node as root, or under systemd with Delegate=yes; "
    "until then memory is watched twenty times a second instead of capped by the kernel"
)
_ADVICE = {
    "user namespace": "allow user namespaces for this user: sysctl user.max_user_namespaces=10000, "
    "on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0, on older Debian "
    "kernel.unprivileged_userns_clone=1; in a container --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined",
    "own namespaces": "run the node outside a container, or "
    "the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
    "read-only root": "Linux 5.13 or newer, outside a container or in one "
    "whose /proc is not masked (--security-opt systempaths=unconfined "
    "--security-opt apparmor=unconfined)",
    "nested user namespace": "sysctl user.max_user_namespaces=10000",
    "unprivileged user": "let root take any user id (CAP_SETUID, and a user namespace that maps "
    "it), or run the node as an ordinary user",
    "readable Python": "install Python and its environment where everybody may read it, such as "
    "/opt or /usr/local, or run the node as an ordinary user",
    "programs start": "only jobs of security_level 'high' run here",
    "Landlock": "Linux 5.13 or newer (level C: 6.12), started with landlock in lsm= "
    "(see /sys/kernel/security/lsm)",
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64",
}

_lock = threading.Lock()
_found: dict[tuple[str, bool], JailReport] = {}


def probe_jail(level_max: str = "A", *, programs: bool = False) -> JailReport:
    """Say how strong a jail this machine can build, up to a level. Each is tried once per process.

    Parameters
    ----------
    programs
        The job may start programs where the machine builds A or B.
    """
    strongest = LEVELS.index(level_max)
    missing: list[str] = []
    if strongest > 0:
        missing.append(f"the node's owner allows level {level_max} at most (node.jail_level_max)")
    if strongest < LEVELS.index("C"):
        found = probe_namespaces(programs=programs)
        if found.level != "none":
            return _without_cgroup(found) if level_max == "B" else found
        missing += [f"level B: {each}" for each in found.missing]
    if strongest <= LEVELS.index("C"):
        found = probe_alone()
        if found.level != "none":
            return replace(found, missing=(*missing, *found.missing))
        missing += [f"level C: {each}" for each in found.missing]
    return JailReport("none", missing=tuple(missing))


def probe_namespaces(*, programs: bool = False) -> JailReport:
    """Try the levels A and B. The layers are those that held, also if one did not."""
    return _once(("A", programs))


def probe_alone() -> JailReport:
    """Try level C. The layers are those that held, also if one did not."""
    return _once(("C", False))


def _once(rung: tuple[str, bool]) -> JailReport:
    with _lock:
        if rung not in _found:
            level, programs = rung
            _found[rung] = _try_alone() if level == "C" else _try_namespaces(programs=programs)
        return _found[rung]


def _without_cgroup(report: JailReport) -> JailReport:
    walls = tuple(wall for wall in report.layers if not wall.startswith("cgroup v"))
    return replace(report, level="B", layers=walls, missing=(NO_CGROUP,))


def _try_namespaces(*, programs: bool) -> JailReport:
    cgroup = new_cgroup(group_name("probe"), GroupLimits(_MEMORY_BYTES, PROBE_PROCESSES))
    plan = _plan("B") | {
        "binds": environment_binds() + (program_binds() if programs else []),
        "linked": [],
        "programs": programs,
    }
    try:
        with start_jail(
            plan, processes=PROBE_PROCESSES, outputs=new_output_file(0), cgroup=cgroup
        ) as jail:
            report = _read_report(jail, "B")
    except NoJailError as error:
        return JailReport("none", missing=(str(error),))
    if report.level == "none":
        return report
    if cgroup is None:
        return replace(report, missing=(NO_CGROUP,))
    return replace(report, level="A", layers=(*report.layers, f"cgroup v{cgroup.version}"))


def _try_alone() -> JailReport:
    try:
        with start_alone(_plan("C"), None, own_python(), outputs=new_output_file(0)) as jail:
            return _read_report(jail, "C")
    except NoJailError as error:
        return JailReport("none", missing=(str(error),))


def _plan(level: str) -> dict[str, object]:
    return {
        "level": level,
        "memory_bytes": _MEMORY_BYTES,
        "disk_bytes": _DISK_BYTES,
        "processes": PROBE_PROCESSES,
        "guest": None,
    }


def _read_report(jail: JailProcess, level: str) -> JailReport:
    """Wait for the end of a jail that tries its own walls, and say what it found."""
    lines = _read_all(jail.pipes.status).decode("utf-8", "replace").splitlines()
    jail.process.wait(30)
    complaint = _read_now(jail.pipes.stderr)
    facts = [json.loads(line) for line in lines]
    walls = [str(fact["wall"]) for fact in facts if "wall" in fact]
    abi = next((fact["landlock"] for fact in facts if "landlock" in fact), None)
    walls = [f"Landlock ABI {abi}" if wall == "Landlock" else wall for wall in walls]
    failed = next((fact for fact in facts if "failed" in fact), None)
    if failed is not None:
        return JailReport("none", tuple(walls), missing=(_missing(failed),))
    if not any(fact.get("ended") == 0 for fact in facts):
        last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:]
        return JailReport("none", tuple(walls), missing=(" ".join(["the jail died", *last]),))
    return JailReport(level, tuple(walls))


def _missing(failed: dict[str, object]) -> str:
    wall = str(failed["failed"])
    advice = _ADVICE.get(wall, "see docs/security.md")
    return f"{wall}: {failed['error']}. Needed: {advice}"


def _read_now(descriptor: int) -> bytes:
    """Return what is there, without waiting for more."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 4000)
    except BlockingIOError:
        return b""


def _read_all(descriptor: int) -> bytes:
    data = b""
    deadline = time.monotonic() + 60
    while len(data) < _REPORT_BYTES_MAX and time.monotonic() < deadline:
        part = os.read(descriptor, 65536)
        if not part:
            break
        data += part
    return data
