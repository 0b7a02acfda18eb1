"""Who asks for a job, and until when: what a spec carries of its signature."""

from dataclasses import dataclass
from enum import StrEnum


class SignedBy(StrEnum):
    """Who signed: the client itself, or the gateway for a client that has no key."""

    CLIENT = "client"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class SpecSignature:
    """An Ed25519 signature over a spec's canonical bytes, which hold all of these but `value`.

    Attributes
    ----------
    key
        Whose signature it is: `ed25519:` and 64 hexadecimal digits.
    nonce
        32 hexadecimal digits that make two jobs of one content two jobs.
    issued_at, expires_at
        Unix seconds: no node starts the job after the latter.
    value
        128 hexadecimal digits.
    """

    key: str
    nonce: str
    issued_at: int
    expires_at: int
    by: SignedBy = SignedBy.CLIENT
    value: str = ""
