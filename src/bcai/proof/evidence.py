"""What a commitment is worth: classes of evidence, on every receipt and never mixed."""

from enum import StrEnum

from bcai.base.errors import InputError
from bcai.vm.program.program import Program


class EvidenceClass(StrEnum):
    """How a result can be checked.

    `exact`: the same bits on every machine, so replay and bisection say who lied. `bounded`:
    agreement within the error that each instruction declares. `replicated`: so many nodes said the
    same; bits are compared only between equal machines, and nobody is punished on it. `attested`:
    one node said so, and signed it; nobody else did it.
    """

    EXACT = "exact"
    BOUNDED = "bounded"
    REPLICATED = "replicated"
    ATTESTED = "attested"


EXACT_BACKENDS = frozenset({"reference", "native", "cuda"})
"""Backends that are written to give the bits of the definition.

`native` is held against it on every processor that it has code for. `cuda` has never been run on a
GPU: until it has, its class is a promise that a replay may break.
"""


def strongest(program: Program, backend: str) -> EvidenceClass:
    """The strongest class that a program on a backend can have.

    Python code inside a program has no bits of its own to go by, whatever runs it.
    """
    if any(each.op.group == "hybrid" for each in program.instructions):
        return EvidenceClass.REPLICATED
    return EvidenceClass.EXACT if backend in EXACT_BACKENDS else EvidenceClass.BOUNDED


def is_claimable(claimed: EvidenceClass, program: Program, backend: str) -> bool:
    """Whether a class is no stronger than a program on a backend allows."""
    order = list(EvidenceClass)
    return order.index(claimed) >= order.index(strongest(program, backend))


def require_exact(*classes: EvidenceClass) -> None:
    """Only exact evidence is disputed bit by bit. Raises InputError."""
    for each in classes:
        if each is not EvidenceClass.EXACT:
            raise InputError(
                f"evidence: found {each}, expected exact",
                hint="bits of other classes differ between honest machines",
            )
