"""Can this machine build the jail? Found out by building one and trying its walls from inside."""

import json
import os
import threading
import time

from bcai.base.errors import NoJailError
from bcai.base.units import MIB
from bcai.bridge.sandbox.cgroup import group_name, new_cgroup
from bcai.bridge.sandbox.level import JailReport, weaker
from bcai.bridge.sandbox.outputs import new_output_file
from bcai.bridge.sandbox.process import environment_binds, start_jail

_MEMORY_BYTES = 512 * MIB
_DISK_BYTES = MIB
_PROCESSES = 16
_REPORT_BYTES_MAX = 1 << 20

NO_CGROUP = (
    "cgroup: run the node as root, or under systemd with Delegate=yes; "
    "until then memory is watched twenty times a second instead of capped by the kernel"
)
_ADVICE = {
    "user namespace": "allow user namespaces for this user: sysctl user.max_user_namespaces=10000, "
    "on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0, on older Debian "
    "kernel.unprivileged_userns_clone=1",
    "own namespaces": "run the node outside a container, or "
    "the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
    "read-only root": "Linux 5.13 or newer, outside a container or in one "
    "whose /proc is not masked (--security-opt systempaths=unconfined "
    "--security-opt apparmor=unconfined)",
    "nested user namespace": "sysctl user.max_user_namespaces=10000",
    "Landlock": "Linux 5.13 or newer, started with landlock in lsm= (see /sys/kernel/security/lsm)",
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64",
}

_lock = threading.Lock()
_found: JailReport | None = None


def probe_jail(level_max: str = "A") -> JailReport:
    """Say how strong a jail this machine can build, up to a level. Tried once per process."""
    global _found  # a cache
    with _lock:
        if _found is None:
            _found = _probe()
        found = _found
    if weaker(found.level, level_max) == found.level:
        return found
    if level_max == "B":
        walls = tuple(wall for wall in found.layers if not wall.startswith("cgroup v"))
        return JailReport("B", walls, missing=(NO_CGROUP,))
    return JailReport("none", missing=(f"level {level_max} is the strongest one allowed",))


def _probe() -> JailReport:
    cgroup = new_cgroup(group_name("probe"), _MEMORY_BYTES, _PROCESSES)
    plan: dict[str, object] = {
        "binds": environment_binds(),
        "linked": [],
        "memory_bytes": _MEMORY_BYTES,
        "disk_bytes": _DISK_BYTES,
        "processes": _PROCESSES,
        "guest": None,
    }
    try:
        with start_jail(
            plan, processes=_PROCESSES, outputs=new_output_file(0), cgroup=cgroup
        ) as jail:
            lines = _read_all(jail.pipes.status).decode("utf-8", "replace").splitlines()
            jail.process.wait(30)
            complaint = os.read(jail.pipes.stderr, 4000)
    except NoJailError as error:
        return JailReport("none", missing=(str(error),))
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
    if cgroup is None:
        return JailReport("B", tuple(walls), missing=(NO_CGROUP,))
    return JailReport("A", (*walls, f"cgroup v{cgroup.version}"))


def _missing(failed: dict[str, object]) -> str:
    wall = str(failed["failed"])
    advice = _ADVICE.get(wall, "see docs/security.md")
    return f"{wall}: {failed['error']}. Needed: {advice}"


def _read_all(descriptor: int) -> bytes:
    data = b""
    deadline = time.monotonic() + 60
    while len(data) < _REPORT_BYTES_MAX and time.monotonic() < deadline:
        part = os.read(descriptor, 65536)
        if not part:
            break
        data += part
    return data
