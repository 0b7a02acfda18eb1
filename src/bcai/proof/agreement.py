r"""What a challenger signs that did a job again and found the same.

    b"bcai-agreement\x00" then canonical CBOR of
    [version, job id, receipt's hash, [trace count, trace root] or null, witness or null,
     challenger key, claimed time]

Note [Witness]
    Count and root of a trace stand in the receipt, and can be copied. The witness cannot: it is a
    hash of the trace of the run's last step, instruction by instruction, which is in no receipt,
    and of the challenger's key, so that no challenger can repeat another's. Whoever does the job
    again gets the same hash; so a challenger that has not computed to the end is named by the next
    one, even if the node was honest. A node may tell it to a friend: then both have signed.
"""

import math
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.proof.canonical import check_hash, check_range, check_text, decode_canonical
from bcai.proof.keys import SIGNATURE_BYTES, Domain, SigningKey, is_signed
from bcai.vm.program import cbor

MAGIC = b"bcai-agreement\x00"
VERSION = 1
BYTES_MAX = 1 << 12
_WITNESS = b"bcai-witness\x00"


@dataclass(frozen=True, slots=True)
class Agreement:
    """One challenger's word, for whoever wants to hold it to that.

    Attributes
    ----------
    receipt
        Hash of the receipt file.
    trace
        The trace that the challenger computed itself; None of what has no defined bits: then it
        has held order, receipt and outputs against each other, and that is all.
    witness
        See Note [Witness]; None of a captured script, whose trace has no steps.
    """

    job_id: str
    receipt: bytes
    trace: TreeHead | None
    witness: bytes | None
    challenger: bytes
    claimed_at: float

    def __post_init__(self) -> None:
        """Refuse what has no canonical bytes."""
        check_text("job_id", self.job_id)
        named = {"receipt": self.receipt, "challenger": self.challenger}
        if self.trace is not None:
            check_range("trace count", self.trace.size, 1, (1 << 63) - 1)
            named["root"] = self.trace.root
        if self.witness is not None:
            named["witness"] = self.witness
        for name, value in named.items():
            check_hash(name, value)
        if type(self.claimed_at) is not float or not math.isfinite(self.claimed_at):
            raise InputError(f"claimed_at: found {self.claimed_at!r}, expected a finite float")


@dataclass(frozen=True, slots=True)
class SignedAgreement:
    """The same with its signature."""

    agreement: Agreement
    signature: bytes

    @property
    def is_signed(self) -> bool:
        """Whether the challenger that it names signed it."""
        words = self.agreement
        return is_signed(words.challenger, Domain.AGREEMENT, _encode(words), self.signature)


def witness_of(challenger: bytes, last_step: TreeHead) -> bytes:
    """What shows that a challenger knows the trace of the last step; see Note [Witness]."""
    size = last_step.size.to_bytes(8, "big")
    return blake3(_WITNESS + challenger + size + last_step.root).digest()


def sign_agreement(agreement: Agreement, key: SigningKey) -> SignedAgreement:
    """Sign as the challenger that it names. Raises InputError for another's key."""
    if key.public != agreement.challenger:
        raise InputError("challenger: the agreement names another key than the one that signs")
    return SignedAgreement(agreement, key.sign(Domain.AGREEMENT, _encode(agreement)))


def agreement_text(signed: SignedAgreement) -> str:
    """Base64 of the signature and the canonical bytes."""
    return b64encode(signed.signature + _encode(signed.agreement)).decode()


def read_agreement(text: str) -> SignedAgreement:
    """Undo `agreement_text`. Raises FormatError."""
    try:
        data = b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"not base64: {error}") from error
    content = data[SIGNATURE_BYTES:]
    agreement = decode_canonical(content, MAGIC, "agreement", BYTES_MAX, _build, _encode)
    return SignedAgreement(agreement, data[:SIGNATURE_BYTES])


def _encode(agreement: Agreement) -> bytes:
    trace = agreement.trace
    return MAGIC + cbor.encode(
        [
            VERSION,
            agreement.job_id,
            agreement.receipt,
            None if trace is None else [trace.size, trace.root],
            agreement.witness,
            agreement.challenger,
            agreement.claimed_at,
        ]
    )


def _build(fields: Any) -> Agreement:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    _, job_id, receipt, trace, witness, challenger, at = fields
    head = None if trace is None else TreeHead(*trace)
    return Agreement(job_id, receipt, head, witness, challenger, at)
