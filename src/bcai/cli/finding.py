"""What `bcai doctor` says about one thing."""

from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """How a finding matters: without what is MISSING, no job can run here."""

    OK = "ok"
    OPTIONAL = "optional"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, what was found, and how to get what lacks."""

    name: str
    health: Health
    found: str
    remedy: str = ""
    details: dict[str, object] = field(default_factory=dict[str, object])
