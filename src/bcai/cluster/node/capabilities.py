"""What this node offers, measured at its start."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from bcai.base.units import MIB
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.probe import probe_jail
from bcai.cluster.node.machine_facts import measure_machine
from bcai.jobs.environment import Environment
from bcai.jobs.node import Capabilities, Gpu
from bcai.settings import Settings

_NVIDIA_SMI_S = 10.0  # it answers at once, or the driver hangs
_CGROUP_MEMORY_FILES = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def measure_capabilities(
    settings: Settings, environments: Iterable[Environment] = ()
) -> Capabilities:
    """Measure this machine; builds a jail to see which walls stand."""
    cpu_count = len(os.sched_getaffinity(0))
    return Capabilities(
        cpu_count=cpu_count,
        memory_bytes=memory_bytes(),
        slots=settings.node.slots or cpu_count,
        python=platform.python_version(),
        packages=installed_packages(),
        jail=_jail(settings),
        gpus=find_gpus() if settings.enhanced_vm.enable_gpu else (),
        platform=f"{platform.system()} {platform.machine()}",
        environments=tuple(environments),
        trusted_keys=settings.node.trusted_keys if settings.enhanced_vm.enable_python else (),
        machine=measure_machine(),
    )


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less in a container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUP_MEMORY_FILES:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # version 2 says "max" where there is no limit
            total = min(total, int(text))
    return total


def installed_packages() -> dict[str, str]:
    """Distributions that a job can import: name in lower case with `-`, and version."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # A half-removed distribution has no name; the first of two on the path is imported.
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name:
            found.setdefault(name, distribution.version)
    return found


def find_gpus() -> tuple[Gpu, ...]:
    """GPUs that the NVIDIA driver reports; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command line
            query, capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(answer.stdout)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Read lines such as `NVIDIA H200, 143771` (MiB); other lines do not count."""
    gpus: list[Gpu] = []
    for line in text.splitlines():
        name, comma, memory = line.rpartition(",")
        if comma and memory.strip().isdigit():
            gpus.append(Gpu(name.strip(), int(memory) * MIB))
    return tuple(gpus)


def _jail(settings: Settings) -> JailReport:
    if settings.enhanced_vm.enable_python:
        return probe_jail(settings.node.jail_level_max)
    switch = "Python jobs: the node's owner switched them off (enhanced_vm.enable_python = false)"
    return JailReport("none", missing=(switch,))
