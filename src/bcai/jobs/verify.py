"""How much of a job's result is checked by others: nothing, a share of such jobs, or every one."""

from dataclasses import dataclass
from enum import StrEnum

from bcai.base.errors import InputError

REPLICAS_MAX = 16  # nodes of one fingerprint are few, and each costs the whole job again
EXPECTED = (
    "expected 'none', 'full', 'audited:RATE' with a rate from 0 to 1, or 'replicated:NODES' with "
    f"2 to {REPLICAS_MAX} nodes"
)


class Policy(StrEnum):
    """`none`: nobody looks. `audited`: with a probability. `full`: always.

    `replicated`: so many nodes do the job, and their answers are compared.
    """

    NONE = "none"
    AUDITED = "audited"
    FULL = "full"
    REPLICATED = "replicated"


@dataclass(frozen=True, slots=True)
class Verify:
    """A policy; `rate` is the probability that a challenger does the job again.

    `replicas` is the number of nodes that do it, each for itself.
    """

    policy: Policy = Policy.NONE
    rate: float = 0.0
    replicas: int = 1

    def __post_init__(self) -> None:
        """Refuse a rate that is no probability, and numbers of another policy."""
        fixed = 1.0 if self.policy is Policy.FULL else 0.0
        if not 0 <= self.rate <= 1 or (self.policy is not Policy.AUDITED and self.rate != fixed):
            raise InputError(f"verify: found {self.policy} with rate {self.rate}, {EXPECTED}")
        least, most = (2, REPLICAS_MAX) if self.policy is Policy.REPLICATED else (1, 1)
        if not least <= self.replicas <= most:
            raise InputError(f"verify: found {self.policy} on {self.replicas} nodes, {EXPECTED}")

    def __str__(self) -> str:
        """What `parse_verify` reads."""
        numbers = {Policy.AUDITED: f":{self.rate}", Policy.REPLICATED: f":{self.replicas}"}
        return self.policy.value + numbers.get(self.policy, "")

    @property
    def extra_computing(self) -> float:
        """What the check is expected to cost, in jobs like this one."""
        return self.rate + self.replicas - 1


NO_CHECK = Verify()


def parse_verify(text: str) -> Verify:
    """Read `none`, `full`, `audited:0.1` or `replicated:3`. Raises InputError."""
    name, separator, number = text.partition(":")
    try:
        if name == Policy.AUDITED and separator:
            return Verify(Policy.AUDITED, float(number))
        if name == Policy.REPLICATED and number.isascii() and number.isdigit():
            return Verify(Policy.REPLICATED, replicas=int(number[:9]))
    except ValueError:
        pass
    except InputError:
        raise InputError(f"verify: found {text!r}, {EXPECTED}") from None
    if text in (Policy.NONE, Policy.FULL):
        return Verify(Policy(text), 1.0 if text == Policy.FULL else 0.0)
    raise InputError(f"verify: found {text!r}, {EXPECTED}")
