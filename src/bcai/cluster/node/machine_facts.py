"""What of this machine decides the bits of numeric libraries, as named facts."""

import os
import platform
from pathlib import Path

from bcai import __version__
from bcai.bridge.sandbox.environment import thread_count

_PROCESSORS = Path("/proc/cpuinfo")
_PROCESSES_MANY = 1 << 20  # no limit of a job's takes threads away
# Of x86-64: the vector and matrix units that libraries choose their loops by. Kernels list others,
# such as those against side channels, and differ in them.
_UNITS = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi")


def measure_machine(processors: Path = _PROCESSORS) -> dict[str, str]:
    """Measure this machine.

    `cpu` is the model, `isa` its vector and matrix units: libraries such as oneDNN and MKL choose
    their loops, and so the order of their sums, by both.
    """
    listed = _first_processor(processors)
    facts = {
        "bcai": __version__,
        "cpu": _model(listed),
        "isa": f"{platform.machine()} {_units(listed)}".strip(),
        "libc": " ".join(platform.libc_ver()).strip() or "unknown",
        "system": platform.system(),
        "threads": str(thread_count(_PROCESSES_MANY)),
    }
    return {name: value for name, value in facts.items() if value}


def _first_processor(path: Path) -> dict[str, str]:
    """What the kernel lists of the first processor."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        found[name.strip()] = value.strip()
    return found


def _model(listed: dict[str, str]) -> str:
    names = ("vendor_id", "cpu family", "model", "stepping")
    numbers = ("CPU implementer", "CPU part", "CPU variant", "CPU revision")  # on Arm
    kinds = [listed[name] for name in (*names, *numbers) if name in listed]
    name = listed.get("model name", "")
    return f"{name} ({' '.join(kinds)})".strip() if kinds else os.uname().machine


def _units(listed: dict[str, str]) -> str:
    if "Features" in listed:  # Arm: few, and all of them count
        return " ".join(sorted(listed["Features"].split()))
    return " ".join(
        sorted(flag for flag in listed.get("flags", "").split() if flag.startswith(_UNITS))
    )
