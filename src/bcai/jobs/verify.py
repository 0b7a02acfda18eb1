"""How much of a job's result is checked by others: nothing, a share of such jobs, or every one."""

from dataclasses import dataclass
from enum import StrEnum

from bcai.base.errors import InputError

EXPECTED = (
    "expected 'none', 'full' or 'audited:RATE' with a rate from 0 to 1 (others, such as "
    "replicated(k), are not built)"
)


class Policy(StrEnum):
    """`none`: nobody looks. `audited`: with a probability. `full`: always."""

    NONE = "none"
    AUDITED = "audited"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Verify:
    """A policy; `rate` is the probability that a challenger does the job again.

    It is also the computing that the check is expected to cost, in jobs like this one.
    """

    policy: Policy = Policy.NONE
    rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a rate that is no probability, or another than the policy's own."""
        fixed = {Policy.NONE: 0.0, Policy.FULL: 1.0}.get(self.policy)
        if not 0 <= self.rate <= 1 or fixed not in (None, self.rate):
            raise InputError(f"verify: found {self.policy} with rate {self.rate}, {EXPECTED}")

    def __str__(self) -> str:
        """What `parse_verify` reads."""
        return f"audited:{self.rate}" if self.policy is Policy.AUDITED else self.policy.value


NO_CHECK = Verify()


def parse_verify(text: str) -> Verify:
    """Read `none`, `full` or `audited:0.1`. Raises InputError."""
    name, separator, rate = text.partition(":")
    if name == Policy.AUDITED and separator:
        try:
            return Verify(Policy.AUDITED, float(rate))
        except ValueError:
            pass
    elif text in (Policy.NONE, Policy.FULL):
        return Verify(Policy(text), 1.0 if text == Policy.FULL else 0.0)
    raise InputError(f"verify: found {text!r}, {EXPECTED}")
