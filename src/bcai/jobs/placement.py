"""Whether a node can run a job: a pure function that admission and the scheduler both ask."""

from packaging.requirements import Requirement

from bcai.base.units import format_size
from bcai.jobs.environment import Environment
from bcai.jobs.jail_misfit import jail_misfit
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.requirements import fitting
from bcai.jobs.spec import JobKind, JobSpec

# The range is that of the extra `wasm` in pyproject.toml; a test holds the two together.
WASM_ENGINE = Requirement("wasmtime>=48,<51")


def misfit(spec: JobSpec, capabilities: Capabilities, *, gpu_fallback: bool) -> Reason | None:
    """Say why a node can never run a job, or None if it can.

    Parameters
    ----------
    gpu_fallback
        The network runs GPU jobs on the CPU: whether the node has a GPU does not matter.
    """
    return (
        jail_misfit(spec, capabilities)
        or _kind_misfit(spec, capabilities)
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


def environment_of(spec: JobSpec, capabilities: Capabilities) -> Environment | Reason:
    """Return the environment that a job gets on a node, or why there is none.

    Raises
    ------
    InputError
        A requirement does not parse.
    """
    return fitting(spec.requirements, spec.environment, capabilities.offered)


def _requirement_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """Look for an environment that has the required packages."""
    if not spec.requirements and spec.environment is None:
        return None
    found = environment_of(spec, capabilities)
    return found if isinstance(found, Reason) else None


def _counted(count: int, noun: str) -> str:
    """`2 GPUs`, `1 GPU`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
