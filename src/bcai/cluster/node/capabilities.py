"""What this node offers, measured at its start."""

import platform
from collections.abc import Iterable
from importlib import metadata

from bcai.base.units import MIB
from bcai.bridge.sandbox import gpu
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.probe import probe_jail
from bcai.cluster.node.allowance import offered_cores, offered_memory_bytes
from bcai.cluster.node.machine_facts import measure_machine
from bcai.jobs.environment import Environment
from bcai.jobs.node import Capabilities, Gpu
from bcai.settings import Settings


def measure_capabilities(
    settings: Settings, environments: Iterable[Environment] = ()
) -> Capabilities:
    """Measure this machine; builds a jail to see which walls stand."""
    cpu_count = offered_cores(settings.node)
    return Capabilities(
        cpu_count=cpu_count,
        memory_bytes=offered_memory_bytes(settings.node),
        slots=settings.node.slots or cpu_count,
        python=platform.python_version(),
        packages=installed_packages(),
        jail=_jail(settings),
        gpus=find_gpus() if settings.enhanced_vm.enable_gpu else (),
        platform=f"{platform.system()} {platform.machine()}",
        environments=tuple(environments),
        trusted_keys=settings.node.trusted_keys if settings.enhanced_vm.enable_python else (),
        machine=measure_machine(),
        job_memory_bytes_max=(settings.enhanced_vm.max_memory_mb or 0) * MIB,
    )


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
    """GPUs that jobs can be given; none where the NVIDIA driver shows no device."""
    return tuple(Gpu(each.name, each.memory_bytes) for each in gpu.find_gpus())


def _jail(settings: Settings) -> JailReport:
    if settings.enhanced_vm.enable_python:
        return probe_jail(settings.node.jail_level_max)
    switch = "Python jobs: the node's owner switched them off (enhanced_vm.enable_python = false)"
    return JailReport("none", missing=(switch,))
