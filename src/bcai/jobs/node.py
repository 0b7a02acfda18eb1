"""What a node offers and how it is."""

from dataclasses import dataclass, field

from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.environment import OWN_NAME, Environment

Fingerprint = tuple[tuple[str, str], ...]  # (fact, value), ascending: jobs/fingerprint.py


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator of a node."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Claim:
    """So much of a node: what a job asks for, what jobs have, or what is left. See claim.py."""

    memory_bytes: int = 0
    cores: int = 0
    gpus: int = 0
    slots: int = 0

    def __add__(self, other: "Claim") -> "Claim":
        """Both together."""
        return Claim(
            self.memory_bytes + other.memory_bytes,
            self.cores + other.cores,
            self.gpus + other.gpus,
            self.slots + other.slots,
        )

    def __sub__(self, other: "Claim") -> "Claim":
        """What is left; below 0 where the other has more."""
        return self + Claim(-other.memory_bytes, -other.cores, -other.gpus, -other.slots)


NOTHING = Claim()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a node offers, measured by itself at start."""

    cpu_count: int
    memory_bytes: int  # of all its jobs together
    slots: int  # jobs at once
    python: str
    packages: dict[str, str]  # distribution name in lower case > version
    jail: JailReport
    gpus: tuple[Gpu, ...] = ()
    platform: str = ""
    environments: tuple[Environment, ...] = ()
    trusted_keys: tuple[str, ...] = ()  # whose jobs of security level `trusted` run here
    machine: dict[str, str] = field(default_factory=dict[str, str])  # facts that decide bits
    job_memory_bytes_max: int = 0  # of one job; 0: all that there is

    @property
    def offered(self) -> tuple[Environment, ...]:
        """The environments; one that names none has the node's own Python alone."""
        return self.environments or (Environment(OWN_NAME, self.python, self.packages),)


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the network. Times are Unix seconds."""

    id: str
    name: str
    capabilities: Capabilities
    seen_at: float
    online: bool
    running: tuple[str, ...] = field(default_factory=tuple[str, ...])  # job ids
    signing_key: str = ""  # what signs its receipts
    taken: Claim = NOTHING  # by the jobs that it has
