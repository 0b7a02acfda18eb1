"""What a job has of its node while it is there: memory, cores, GPUs and one of the slots.

Note [What is free is not counted]
    No number of what is free is kept anywhere. It is what a node offers, less the claims of the
    jobs that the store says it has. So whatever takes a job from its node (its end, a cancel, a
    lease that ran out, a scheduler or node that was killed) gives back what it had, and nothing
    can be lost.
"""

from dataclasses import dataclass

from bcai.base.units import format_count, format_size
from bcai.jobs.node import NOTHING, Capabilities, Claim
from bcai.jobs.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Shortage:
    """What a job asks of a node that has too little of it free; both 0 where there is enough."""

    asked: Claim = NOTHING
    free: Claim = NOTHING

    def __bool__(self) -> bool:
        """Whether anything is short."""
        return self.asked != NOTHING


def asked_by(spec: JobSpec) -> Claim:
    """What a job asks of whatever node gets it. Who names no memory asks for the default limit."""
    wanted = spec.hardware
    return Claim(spec.limits.memory_bytes, wanted.cpu_count, wanted.gpu_count, 1)


def claim_on(asked: Claim, capabilities: Capabilities) -> Claim:
    """What a job has of a node that it fits.

    A node lowers the limit of a job that asked for no memory to what it has, and one whose network
    runs GPU jobs on the processor lends no GPUs where it has too few.
    """
    memory_bytes = min(asked.memory_bytes, capabilities.memory_bytes)
    if capabilities.job_memory_bytes_max:
        memory_bytes = min(memory_bytes, capabilities.job_memory_bytes_max)
    gpus = asked.gpus if asked.gpus <= len(capabilities.gpus) else 0
    return Claim(memory_bytes, asked.cores, gpus, asked.slots)


def room_of(capabilities: Capabilities) -> Claim:
    """What all jobs of a node have together.

    An owner who lets more jobs run at once than there are cores lets them share cores.
    """
    cores = max(capabilities.cpu_count, capabilities.slots)
    return Claim(capabilities.memory_bytes, cores, len(capabilities.gpus), capabilities.slots)


def shortage(spec: JobSpec, capabilities: Capabilities, taken: Claim) -> Shortage:
    """What a node, of which others have taken so much, lacks for a job that it fits.

    GPUs that others have count as large ones: nobody but the node knows which it lent. Where there
    are too few of them at all, the job fits because it may run on the processor.
    """
    asked = claim_on(asked_by(spec), capabilities)
    free = room_of(capabilities) - taken
    large = sum(gpu.memory_bytes >= spec.hardware.gpu_memory_bytes for gpu in capabilities.gpus)
    short = {
        name: (wanted, max(0, has))
        for name, wanted, has in (
            ("memory_bytes", asked.memory_bytes, free.memory_bytes),
            ("cores", asked.cores, free.cores),
            ("gpus", asked.gpus if asked.gpus <= large else 0, large - taken.gpus),
            ("slots", asked.slots, free.slots),
        )
        if wanted > max(0, has)
    }
    return Shortage(
        Claim(**{name: wanted for name, (wanted, _) in short.items()}),
        Claim(**{name: has for name, (_, has) in short.items()}),
    )


def in_words(claim: Claim) -> str:
    """`4.0 GiB of memory, 2 cores and 1 GPU`; a slot only where there is nothing else."""
    parts = [
        f"{format_size(claim.memory_bytes)} of memory" if claim.memory_bytes else "",
        format_count(claim.cores, "core") if claim.cores else "",
        format_count(claim.gpus, "GPU") if claim.gpus else "",
    ]
    parts = [part for part in parts if part] or [format_count(claim.slots, "slot")]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
