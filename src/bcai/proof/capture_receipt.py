r"""The receipt of a captured script.

    b"bcai-capture-receipt\x00" then canonical CBOR of
    [version, terms, [program, ...], [spec, client key, signature] or null, commitment, signature,
     [leaf, ...]]

Terms, programs and commitment are their own canonical bytes; the commitment's `run` is the digest
of the terms, its `final state` the root of the named tensors. Programs stand in the order in which
parts first run them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.proof.canonical import check_range, decode_canonical
from bcai.proof.capture import (
    RUN_MAGIC,
    VERSION,
    CaptureTerms,
    GivenLeaf,
    Leaf,
    NamedLeaf,
    encode_terms,
    head_of_leaves,
    leaf_fields,
    leaf_of_fields,
)
from bcai.proof.commitment import (
    Commitment,
    OutputHash,
    decode_commitment,
    encode_commitment,
    sign_commitment,
)
from bcai.proof.evidence import EXACT_BACKENDS, EvidenceClass
from bcai.proof.issue import Circumstances
from bcai.proof.keys import SigningKey
from bcai.proof.receipt import SignedSpec, check_signature, spec_fields, spec_of_fields
from bcai.proof.state import TensorHash, head_of
from bcai.vm.program import cbor
from bcai.vm.program.codec import decode_program, encode_program
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Program

MAGIC = b"bcai-capture-receipt\x00"
BYTES_MAX = 1 << 32
OPERATION = "operation "
"""How the text about an operation begins that the script's own torch executed."""


@dataclass(frozen=True, repr=False)
class CaptureReceipt:
    """See the module for the parts; `check_capture` holds them against each other."""

    terms: CaptureTerms
    programs: tuple[Program, ...]
    commitment: Commitment
    signature: bytes
    leaves: tuple[Leaf, ...]
    spec: SignedSpec | None = None

    def __repr__(self) -> str:
        """Sum it up."""
        at = self.commitment
        return f"<CaptureReceipt of {at.job_id}: {at.trace.size} leaves, evidence {at.evidence}>"

    @cached_property
    def by_root(self) -> dict[bytes, Program]:
        """The programs, by what identifies them."""
        return {program_root(each): each for each in self.programs}


def strongest_capture(
    leaves: Sequence[Leaf], unmapped: Sequence[str], backend: str
) -> EvidenceClass:
    """The strongest class that a trace can have.

    An operation of the script's own torch has no bits of its own to go by: what came of it is this
    one node's word.
    """
    is_given = any(isinstance(each, GivenLeaf) and each.origin for each in leaves)
    if is_given or any(each.startswith(OPERATION) for each in unmapped):
        return EvidenceClass.ATTESTED
    return EvidenceClass.EXACT if backend in EXACT_BACKENDS else EvidenceClass.BOUNDED


def issue_capture(
    terms: CaptureTerms,
    leaves: Sequence[Leaf],
    programs: Mapping[bytes, Program],
    *,
    circumstances: Circumstances,
    key: SigningKey,
    spec: SignedSpec | None,
    unmapped: Sequence[str],
    others: Sequence[OutputHash] = (),
) -> CaptureReceipt:
    """Sign for a script that has ended.

    Parameters
    ----------
    others
        Outputs of the job that are no values of the trace.
    unmapped
        What no instruction says, and what no trace covers, in words.
    """
    named = named_tensors(leaves)
    table = [OutputHash(each.name, str(each.type), each.content) for each in named]
    at = circumstances
    commitment = Commitment(
        at.job_id,
        None if spec is None else blake3(spec.spec).digest(),
        terms.digest,
        head_of_leaves(leaves),
        head_of(named).digest,
        tuple(sorted((*table, *others), key=lambda each: each.name.encode())),
        strongest_capture(leaves, unmapped, at.backend),
        at.backend,
        at.device,
        at.fingerprint,
        at.jail_level,
        at.jail_layers,
        at.usage,
        tuple(unmapped),
        key.public,
        at.claimed_at,
    )
    signature = sign_commitment(commitment, key)
    return CaptureReceipt(
        terms, tuple(programs.values()), commitment, signature, tuple(leaves), spec
    )


def named_tensors(leaves: Sequence[Leaf]) -> list[TensorHash]:
    """What left the job, in the order of its root."""
    named = [each for each in leaves if isinstance(each, NamedLeaf)]
    tensors = [TensorHash(each.name, each.type, each.content) for each in named]
    return sorted(tensors, key=lambda each: each.name.encode())


def encode_capture(receipt: CaptureReceipt) -> bytes:
    """Canonical bytes of a receipt: the file."""
    spec = receipt.spec
    return MAGIC + cbor.encode(
        [
            VERSION,
            encode_terms(receipt.terms),
            [encode_program(each) for each in receipt.programs],
            None if spec is None else spec_fields(spec),
            encode_commitment(receipt.commitment),
            receipt.signature,
            [leaf_fields(each) for each in receipt.leaves],
        ]
    )


def decode_capture(data: bytes) -> CaptureReceipt:
    """Read a receipt file. That it is a receipt says nothing about whether it is true.

    Raises
    ------
    FormatError
        It is not the canonical encoding of such a receipt.
    """
    return decode_canonical(data, MAGIC, "capture receipt", BYTES_MAX, _build, encode_capture)


def _build(fields: Any) -> CaptureReceipt:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    _, terms, programs, spec, commitment, signature, leaves = fields
    check_signature("signature", signature)
    return CaptureReceipt(
        decode_canonical(terms, RUN_MAGIC, "capture's terms", 100, _terms, encode_terms),
        tuple(decode_program(each) for each in programs),
        decode_commitment(commitment),
        signature,
        tuple(leaf_of_fields(each) for each in leaves),
        None if spec is None else spec_of_fields(spec),
    )


def _terms(fields: Any) -> CaptureTerms:
    version, isa_version, seed = fields
    if version != VERSION:
        raise FormatError(f"version {version!r} is not known; expected {VERSION}")
    check_range("isa_version", isa_version, 0, 1 << 31)
    check_range("seed", seed, 0, 1 << 62)
    return CaptureTerms(isa_version, seed)
