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
class Capabilities:
    """What a node offers, measured by itself at start."""

    cpu_count: int
    memory_bytes: int
    slots: int  # jobs at once
    python: str
    packages: dict[str, str]  # distribution name in lower case > version
    jail: JailReport
    gpus: tuple[Gpu, ...] = ()
    platform: str = ""
    environments: tuple[Environment, ...] = ()
    trusted_keys: tuple[str, ...] = ()  # whose jobs of security level `trusted` run here
    machine: dict[str, str] = field(default_factory=dict[str, str])  # facts that decide bits

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
