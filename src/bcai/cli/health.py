"""What this machine has and lacks for running jobs, as plain findings."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from bcai.base.errors import BcaiError, InputError
from bcai.base.units import GIB, format_count, format_size
from bcai.cli.finding import Finding, Health
from bcai.cli.ladder import examine_jail
from bcai.settings import Settings

DISK_BYTES_MIN = 2 * GIB  # a job's scratch disk and its outputs, with the defaults
_OPTIONAL = {
    "scikit-learn": "the example data sets",
    "matplotlib": "curves.png of `bcai run --out`",
    "psycopg": "PostgreSQL instead of SQLite",
}


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that a job on this machine needs."""
    return [
        _python(),
        _platform(),
        _offer(settings),
        _torch(),
        _gpu(),
        _programs(settings),
        *examine_jail(settings),
        _home(settings),
        _disk(settings),
        _network(settings),
        *(_package(name, purpose) for name, purpose in _OPTIONAL.items()),
    ]


def _python() -> Finding:
    number = platform.python_version()
    return Finding("python", Health.OK, f"{number} ({sys.executable})")


def _platform() -> Finding:
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    found += f", {os.cpu_count()} cores"
    if platform.system() != "Linux":
        return Finding("platform", Health.MISSING, found, "the jail needs Linux")
    return Finding("platform", Health.OK, found)


def _offer(settings: Settings) -> Finding:
    """What a node here offers to jobs: its owner may have said more than there is."""
    from bcai.base.allowance import core_count, memory_bytes
    from bcai.cluster.node.allowance import offered_cores, offered_memory_bytes

    if platform.system() != "Linux":
        return Finding("offer", Health.OPTIONAL, "nothing: a node needs Linux")
    cores, memory = offered_cores(settings.node), offered_memory_bytes(settings.node)
    found = f"{format_count(cores, 'core')} and {format_size(memory)} of memory for jobs"
    if memory > memory_bytes():
        found += f"; this machine has {format_size(memory_bytes())}"
        remedy = "lower memory_mb in [node]: jobs that use so much end the machine's other programs"
        return Finding("offer", Health.OPTIONAL, found, remedy)
    if cores > core_count():
        found += f"; this machine has {format_count(core_count(), 'core')}"
        remedy = "lower cpu_count in [node]: jobs that ask for cores share what there is"
        return Finding("offer", Health.OPTIONAL, found, remedy)
    return Finding("offer", Health.OK, found)


def _torch() -> Finding:
    try:
        return Finding("torch", Health.OK, version("torch"))
    except PackageNotFoundError:
        command = f"{sys.executable} -m bcai.cli.install_torch"
        remedy = f"{command}; jobs that do not import torch run without it"
        return Finding("torch", Health.OPTIONAL, "not installed", remedy)


def _gpu() -> Finding:
    from bcai.cluster.node.capabilities import find_gpus

    gpus = find_gpus()
    if not gpus:
        return Finding("gpu", Health.OPTIONAL, "none", "jobs run on the CPU")
    found = "; ".join(f"{gpu.name}, {format_size(gpu.memory_bytes)}" for gpu in gpus)
    return Finding("gpu", Health.OK, found)


def _programs(settings: Settings) -> Finding:
    from bcai.vm.backends.native.backend import what_is_missing
    from bcai.vm.runtime.choose_backend import choose_backend

    wanted = settings.enhanced_vm
    try:
        choice = choose_backend(wanted.hardware_backend, threads=wanted.threads)
    except BcaiError as error:
        remedy = "set enhanced_vm.hardware_backend to 'auto'"
        return Finding("programs", Health.MISSING, str(error), remedy)
    found = f"{choice.backend.name}: {choice.backend.device}"
    lacking = what_is_missing()
    if lacking:
        remedy = f"{lacking}; programs run by their definition, slowly"
        return Finding("programs", Health.OPTIONAL, found, remedy)
    return Finding("programs", Health.OK, found)


def _home(settings: Settings) -> Finding:
    place = _nearest_existing(settings.home)
    if not os.access(place, os.W_OK | os.X_OK):
        remedy = "make it writable, or set BCAI_HOME to another folder"
        return Finding("home", Health.MISSING, f"{settings.home}: not writable", remedy)
    return Finding("home", Health.OK, str(settings.home))


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_nearest_existing(settings.home)).free
    found = f"{format_size(free)} free"
    if free < DISK_BYTES_MIN:
        remedy = f"free some: jobs may need {format_size(DISK_BYTES_MIN)}"
        return Finding("disk", Health.OPTIONAL, found, remedy)
    return Finding("disk", Health.OK, found)


def _network(settings: Settings) -> Finding:
    from bcai.sdk.endpoint import parse_endpoint
    from bcai.sdk.local import answers, find_local_network

    if settings.endpoint is not None:
        remedy = "check BCAI_ENDPOINT; without it, jobs run on a network on this machine"
        try:
            url = parse_endpoint(settings.endpoint)
        except InputError as error:
            return Finding("network", Health.OPTIONAL, str(error), remedy)
        host = urlsplit(url).netloc
        if answers(url):
            return Finding("network", Health.OK, f"{host} answers")
        return Finding("network", Health.OPTIONAL, f"{host} does not answer", remedy)
    network = find_local_network(settings.home)
    if network is not None:
        return Finding("network", Health.OK, f"runs on this machine at {network.url}")
    return Finding("network", Health.OK, "none runs here; `bcai run` starts one")


def _package(name: str, purpose: str) -> Finding:
    try:
        return Finding(name, Health.OK, version(name))
    except PackageNotFoundError:
        remedy = f"{sys.executable} -m pip install {name}: {purpose}"
        return Finding(name, Health.OPTIONAL, "not installed", remedy)


def _nearest_existing(path: Path) -> Path:
    return next(place for place in (path, *path.resolve().parents) if place.exists())
