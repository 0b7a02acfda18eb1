r"""What a node signs when a run is over.

    b"bcai-commitment\x00" then canonical CBOR of
    [version, job id, spec digest or null, run digest, trace count, trace root, final state root,
     [[name, type, hash], ...], evidence class, backend, device, fingerprint,
     jail level, [jail layer, ...], [wall_s, cpu_s, memory_bytes_peak], [what was not mapped, ...],
     node key, claimed time]

The outputs ascend by the bytes of their names. A type is that of a tensor (`float32[2,3]`), with
the hash of its content; `state`, with the root of named tensors; or `bytes`, with BLAKE3 of them.
What was not mapped is text: parts of the job that no trace covers. The jail and the time are the
node's word: the signature makes it answer for them, no more.
"""

import math
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.proof.canonical import check_hash, check_range, check_text, decode_canonical
from bcai.proof.evidence import EvidenceClass
from bcai.proof.keys import Domain, SigningKey, is_signed
from bcai.vm.isa.types import parse_type
from bcai.vm.program import cbor

MAGIC = b"bcai-commitment\x00"
VERSION = 1
BYTES_MAX = 1 << 26
_OTHER_TYPES = ("state", "bytes")


@dataclass(frozen=True, slots=True)
class OutputHash:
    """One output of the job: its name, what it is, and its hash."""

    name: str
    type: str
    hash: bytes

    def __post_init__(self) -> None:
        """Refuse what no output is."""
        check_text("output", self.name)
        check_text(f"output {self.name!r}: type", self.type)
        check_hash(f"output {self.name!r}: hash", self.hash)
        if self.type not in _OTHER_TYPES:
            parse_type(self.type)


@dataclass(frozen=True, slots=True)
class UsageClaim:
    """What the run used, as the node says."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no amount."""
        for name in ("wall_s", "cpu_s"):
            value = getattr(self, name)
            if type(value) is not float or not math.isfinite(value) or value < 0:
                raise InputError(f"usage.{name}: found {value!r}, expected a float from 0")
        check_range("usage.memory_bytes_peak", self.memory_bytes_peak, 0, 1 << 62)


@dataclass(frozen=True, slots=True)
class Commitment:
    """See the module for the parts.

    Raises
    ------
    InputError
        A field is not what it should be; the message names it.
    """

    job_id: str
    spec: bytes | None
    run: bytes
    trace: TreeHead
    final_state: bytes
    outputs: tuple[OutputHash, ...]
    evidence: EvidenceClass
    backend: str
    device: str
    fingerprint: str
    jail_level: str
    jail_layers: tuple[str, ...]
    usage: UsageClaim
    unmapped: tuple[str, ...]
    node: bytes
    claimed_at: float
    """Unix time in seconds."""

    def __post_init__(self) -> None:
        """Refuse what no node commits to."""
        for name in ("job_id", "backend", "device", "fingerprint", "jail_level"):
            check_text(name, getattr(self, name))
        for name in ("jail_layers", "unmapped"):
            for text in getattr(self, name):
                check_text(name, text)
        if self.spec is not None:
            check_hash("spec", self.spec)
        for name in ("run", "final_state", "node"):
            check_hash(name, getattr(self, name))
        check_range("trace.size", self.trace.size, 1, 1 << 31)
        check_hash("trace.root", self.trace.root)
        names = [each.name for each in self.outputs]
        if len(set(names)) != len(names):
            raise InputError("outputs: a name stands twice")
        if type(self.claimed_at) is not float or not math.isfinite(self.claimed_at):
            raise InputError(f"claimed_at: found {self.claimed_at!r}, expected a finite float")

    @property
    def digest(self) -> bytes:
        """32 bytes that identify the commitment."""
        return blake3(encode_commitment(self)).digest()


def sign_commitment(commitment: Commitment, key: SigningKey) -> bytes:
    """Sign as the node that the commitment names. Raises InputError for another's key."""
    if key.public != commitment.node:
        raise InputError("node: the commitment names another key than the one that signs")
    return key.sign(Domain.COMMITMENT, encode_commitment(commitment))


def is_commitment_signed(commitment: Commitment, signature: bytes) -> bool:
    """Whether the node that a commitment names signed it."""
    return is_signed(commitment.node, Domain.COMMITMENT, encode_commitment(commitment), signature)


def encode_commitment(commitment: Commitment) -> bytes:
    """Canonical bytes of a commitment."""
    outputs = sorted(commitment.outputs, key=lambda each: each.name.encode())
    usage = commitment.usage
    return MAGIC + cbor.encode(
        [
            VERSION,
            commitment.job_id,
            commitment.spec,
            commitment.run,
            commitment.trace.size,
            commitment.trace.root,
            commitment.final_state,
            [[each.name, each.type, each.hash] for each in outputs],
            commitment.evidence.value,
            commitment.backend,
            commitment.device,
            commitment.fingerprint,
            commitment.jail_level,
            list(commitment.jail_layers),
            [usage.wall_s, usage.cpu_s, usage.memory_bytes_peak],
            list(commitment.unmapped),
            commitment.node,
            commitment.claimed_at,
        ]
    )


def decode_commitment(data: bytes) -> Commitment:
    """Read canonical bytes.

    Raises
    ------
    FormatError
        They are not the canonical encoding of a commitment.
    """
    return decode_canonical(data, MAGIC, "commitment", BYTES_MAX, _build, encode_commitment)


def _build(fields: Any) -> Commitment:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    (_, job_id, spec, run, count, root, final, outputs, evidence, backend, device, fingerprint,
     level, layers, usage, unmapped, node, at) = fields  # fmt: skip
    return Commitment(
        job_id, spec, run, TreeHead(count, root), final,
        tuple(OutputHash(*each) for each in outputs), EvidenceClass(evidence),
        backend, device, fingerprint, level, tuple(layers), UsageClaim(*usage), tuple(unmapped),
        node, at,
    )  # fmt: skip
