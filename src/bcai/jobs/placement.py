"""Whether a node can run a job: a pure function that admission and the scheduler both ask."""

import difflib

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from bcai.base.errors import InputError
from bcai.base.units import format_size
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.spec import JobKind, JobSpec

# The range is that of the extra `wasm` in pyproject.toml; a test holds the two together.
WASM_ENGINE = Requirement("wasmtime>=48,<51")

# Names that people import, where the distribution has another one.
_IMPORT_NAMES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "pil": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def parse_requirement(text: str) -> Requirement:
    """Parse one requirement, such as `torch>=2.8`.

    Raises
    ------
    InputError
        It is not a name with an optional version (PEP 508), or it names a URL.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        detail = str(error).splitlines()[0]
        raise InputError(
            f"requirement {text[:200]!r}: {detail}; expected such as 'torch>=2.8'"
        ) from None
    if requirement.url is not None:
        raise InputError(
            f"requirement {text[:200]!r}: names a URL; expected a package of the node by its name"
        )
    return requirement


def misfit(spec: JobSpec, capabilities: Capabilities, *, gpu_fallback: bool) -> Reason | None:
    """Say why a node can never run a job, or None if it can.

    Parameters
    ----------
    gpu_fallback
        The network runs GPU jobs on the CPU: whether the node has a GPU does not matter.
    """
    if capabilities.jail.level == "none" and spec.kind is JobKind.PYTHON:
        return Reason(
            ReasonCode.NO_JAIL,
            "the node cannot build the jail that untrusted code needs",
            hint="; ".join(capabilities.jail.missing),
        )
    return (
        _kind_misfit(spec, capabilities)
        or _hardware_misfit(spec, capabilities)
        or (None if gpu_fallback else gpu_misfit(spec, capabilities))
        or _requirement_misfit(spec, capabilities)
    )


def _kind_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """A WebAssembly module needs an engine, which a node need not have."""
    if spec.kind is not JobKind.WASM:
        return None
    found = capabilities.packages.get(WASM_ENGINE.name)
    if found is not None and WASM_ENGINE.specifier.contains(found, prereleases=True):
        return None
    has = f"the node has {WASM_ENGINE.name} {found}" if found else "the node has none"
    return Reason(
        ReasonCode.REQUIREMENTS,
        f"needs an engine for WebAssembly, {WASM_ENGINE}; {has}",
        hint="ask the node's owner to install it: pip install 'bcai[wasm]'",
    )


def gpu_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """Say which GPUs a job needs and a node lacks, or None."""
    wanted = spec.hardware
    fitting = [gpu for gpu in capabilities.gpus if gpu.memory_bytes >= wanted.gpu_memory_bytes]
    if len(fitting) >= wanted.gpu_count:
        return None
    memory = f" with {format_size(wanted.gpu_memory_bytes)}" if wanted.gpu_memory_bytes else ""
    gpus = [f"{gpu.name} with {format_size(gpu.memory_bytes)}" for gpu in capabilities.gpus]
    return Reason(
        ReasonCode.HARDWARE,
        f"needs {_counted(wanted.gpu_count, 'GPU')}{memory}; "
        f"the node has {', '.join(gpus) or 'no GPU'}",
        hint="ask for fewer or smaller GPUs, or none",
    )


def _hardware_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """Compare cores and memory."""
    wanted = spec.hardware.cpu_count
    if wanted > capabilities.cpu_count:
        return Reason(
            ReasonCode.HARDWARE,
            f"needs {_counted(wanted, 'CPU core')}; the node has {capabilities.cpu_count}",
            hint=f"ask for at most {capabilities.cpu_count} with hardware.cpu_count",
        )
    if spec.hardware.memory_bytes > capabilities.memory_bytes:
        offered = format_size(capabilities.memory_bytes)
        return Reason(
            ReasonCode.HARDWARE,
            f"needs {format_size(spec.hardware.memory_bytes)} of memory; the node has {offered}",
            hint=f"ask for at most {offered} with limits.memory",
        )
    return None


def _requirement_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """Compare the required packages with what is installed."""
    if not spec.requirements:
        return None
    installed = {canonicalize_name(name): name for name in capabilities.packages}
    for text in spec.requirements:
        requirement = parse_requirement(text)
        if not _applies(requirement, capabilities):
            continue
        name = canonicalize_name(requirement.name)
        if name not in installed:
            return _missing_package(requirement.name, name, list(installed))
        version = capabilities.packages[installed[name]]
        if not requirement.specifier.contains(version, prereleases=True):
            return Reason(
                ReasonCode.REQUIREMENTS,
                f"needs {text}; the node has {requirement.name} {version}",
                hint=f"ask for {requirement.name}, or for a version that includes {version}",
            )
    return None


def _applies(requirement: Requirement, capabilities: Capabilities) -> bool:
    """Whether a requirement's environment marker, if any, is true on the node."""
    if requirement.marker is None:
        return True
    python = capabilities.python
    environment = {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "extra": "",
    }
    return requirement.marker.evaluate(environment)


def _missing_package(asked: str, name: str, installed: list[str]) -> Reason:
    """Name the package that is not there, and the one that was perhaps meant."""
    known = _IMPORT_NAMES.get(name)
    near = [known] if known in installed else difflib.get_close_matches(name, installed, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = "ask the node's owner to install it, or bring the module in a project folder"
    return Reason(
        ReasonCode.REQUIREMENTS, f"needs {asked}, which the node does not have", hint=hint
    )


def _counted(count: int, noun: str) -> str:
    """`2 GPUs`, `1 GPU`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
