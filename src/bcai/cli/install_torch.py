"""Install PyTorch without the gigabytes that this machine cannot use.

Run it as `python -m bcai.cli.install_torch [auto|cpu|cuda|skip]`. PyPI's PyTorch for Linux brings
CUDA. Where there is no NVIDIA GPU, its CPU build comes from PyTorch's own index instead, unless
the index that pip uses already offers a CPU build.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

REQUIREMENT = "torch>=2.8,<2.14"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WISHES = ("auto", "cpu", "cuda", "skip")
_VERSION_MIN, _VERSION_END = (2, 8), (2, 14)
_TIMEOUT_S = 3600  # a slow line needs its time; a hung one must end


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice depends on."""

    system: str
    has_nvidia_gpu: bool
    installed: str | None  # the version of PyTorch in this environment


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and why in words."""

    why: str
    pip_arguments: tuple[str, ...] | None = None  # None: nothing to do


def is_cpu_build(version: str, system: str) -> bool:
    """Whether a version of PyTorch is without CUDA; macOS has no other builds."""
    return system == "Darwin" or version.endswith("+cpu")


def is_supported(version: str) -> bool:
    """Whether a version satisfies `REQUIREMENT`."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and _VERSION_MIN <= (int(numbers[1]), int(numbers[2])) < _VERSION_END


def decide(wish: str, machine: Machine, offered: str | None) -> Plan:
    """Choose which build to install.

    Parameters
    ----------
    wish
        One of `WISHES`.
    offered
        The version that pip would take from its own index, or None if it offers none.
    """
    if wish == "skip":
        return Plan("skipped, as asked")
    wants_cuda = wish == "cuda" or (wish == "auto" and machine.has_nvidia_gpu)
    installed = machine.installed
    if installed is not None and is_supported(installed):
        fits = wants_cuda != is_cpu_build(installed, machine.system)
        if wish == "auto" or fits:
            return Plan(f"PyTorch {installed} is here already")
    replace = () if installed is None else ("--force-reinstall",)
    if wants_cuda:
        return Plan("the default build, for NVIDIA GPUs", (*replace, REQUIREMENT))
    if offered is not None and is_cpu_build(offered, machine.system):
        return Plan(f"pip's index offers a CPU build, {offered}", (*replace, REQUIREMENT))
    return Plan(
        f"the CPU build, from {CPU_INDEX}", (*replace, "--index-url", CPU_INDEX, REQUIREMENT)
    )


def look_at_machine() -> Machine:
    """Find out what the choice depends on, without importing PyTorch."""
    try:
        installed = metadata.version("torch")
    except metadata.PackageNotFoundError:
        installed = None
    has_gpu = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return Machine(platform.system(), has_gpu, installed)


def ask_pip() -> str | None:
    """Version of PyTorch that pip would install from its own index, without installing it."""
    command = ["--dry-run", "--ignore-installed", "--no-deps", "-qq", "--report", "-"]
    answer = _pip("install", *command, REQUIREMENT, capture=True)
    start = answer.stdout.find("{")
    if answer.returncode != 0 or start < 0:
        return None
    report = json.loads(answer.stdout[start:])
    return str(report["install"][0]["metadata"]["version"])


def main(arguments: list[str]) -> int:
    """Install as the first argument wishes (default `auto`); return the exit status."""
    wish = arguments[0] if arguments else "auto"
    if wish not in WISHES:
        print(f"torch: found {wish!r}, expected one of {', '.join(WISHES)}", file=sys.stderr)  # noqa: T201
        return 2
    machine = look_at_machine()
    plan = decide(wish, machine, None)
    if plan.pip_arguments is not None and CPU_INDEX in plan.pip_arguments:
        plan = decide(wish, machine, ask_pip())
    print(f"torch: {plan.why}", file=sys.stderr)  # noqa: T201
    if plan.pip_arguments is None:
        return 0
    status = _pip("install", "-qq", *plan.pip_arguments).returncode
    if status != 0:
        hint = "TORCH=cuda takes the default build, TORCH=skip none"
        print(f"torch: pip could not install it; {hint}", file=sys.stderr)  # noqa: T201
    return status


def _pip(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter, arguments from this file
        [sys.executable, "-m", "pip", *arguments],
        stdout=subprocess.PIPE if capture else None,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
