r"""A receipt of a Python job: what was ordered, and the word of every node that did it.

    b"bcai-python-receipt\x00" then canonical CBOR of
    [version, [spec, client key, signature], [[commitment, signature], ...]]

Spec and commitments are their own canonical bytes; the words ascend by the nodes' keys, so that no
node stands in it twice. One word is class `attested`; k words of equal machines that agree are of
class `replicated`. The class is counted, never claimed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bcai.base.errors import FormatError
from bcai.proof.canonical import decode_canonical
from bcai.proof.evidence import EvidenceClass
from bcai.proof.keys import SIGNATURE_BYTES
from bcai.proof.python_commitment import PythonCommitment, decode_python, encode_python
from bcai.proof.receipt import SignedSpec, check_signature, spec_fields, spec_of_fields
from bcai.vm.program import cbor

MAGIC = b"bcai-python-receipt\x00"
VERSION = 1
BYTES_MAX = 1 << 28
WORDS_MAX = 64


@dataclass(frozen=True, slots=True)
class Word:
    """One node's word."""

    commitment: PythonCommitment
    signature: bytes


@dataclass(frozen=True, slots=True)
class PythonReceipt:
    """See the module for the parts; `check_python_receipt` holds them against each other."""

    spec: SignedSpec
    words: tuple[Word, ...]

    def __repr__(self) -> str:
        """Sum it up."""
        commitment = self.words[0].commitment
        nodes = f"{len(self.words)} node{'s' if len(self.words) > 1 else ''}"
        return f"<PythonReceipt of {commitment.job_id}: {nodes}, evidence {self.evidence}>"

    @property
    def agreeing(self) -> tuple[Word, ...]:
        """The words of more than half of all, if there are such, that say the same; else none.

        Nodes that say the same on other machines do not count: their bits were never comparable.
        """
        said = Counter(_said(word) for word in self.words)
        most, count = said.most_common(1)[0]
        if 2 * count <= len(self.words):
            return ()
        return tuple(word for word in self.words if _said(word) == most)

    @property
    def evidence(self) -> EvidenceClass:
        """Counted: `replicated` where two or more agree, and are more than half."""
        agree = len(self.agreeing)
        return EvidenceClass.REPLICATED if agree > 1 else EvidenceClass.ATTESTED


def join_words(spec: SignedSpec, words: Sequence[Word]) -> PythonReceipt:
    """One receipt of all words, in the file's order."""
    return PythonReceipt(spec, tuple(sorted(words, key=lambda word: word.commitment.node)))


def is_python_receipt(data: bytes) -> bool:
    """Whether a file begins as such a receipt."""
    return data.startswith(MAGIC)


def encode_python_receipt(receipt: PythonReceipt) -> bytes:
    """Canonical bytes of a receipt: the file."""
    return MAGIC + cbor.encode(
        [
            VERSION,
            spec_fields(receipt.spec),
            [[encode_python(word.commitment), word.signature] for word in receipt.words],
        ]
    )


def decode_python_receipt(data: bytes) -> PythonReceipt:
    """Read a receipt file. That it is a receipt says nothing about whether it is true.

    Raises
    ------
    FormatError
        It is not the canonical encoding of such a receipt.
    """
    return decode_canonical(
        data, MAGIC, "receipt of a Python job", BYTES_MAX, _build, encode_python_receipt
    )


def encode_word(word: Word) -> bytes:
    """A signature, then the commitment's canonical bytes."""
    return word.signature + encode_python(word.commitment)


def decode_word(data: bytes) -> Word:
    """Undo `encode_word`. Raises FormatError."""
    return Word(decode_python(data[SIGNATURE_BYTES:]), data[:SIGNATURE_BYTES])


def _build(fields: Any) -> PythonReceipt:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    _, spec, words = fields
    if not 1 <= len(words) <= WORDS_MAX:
        raise FormatError(f"words: found {len(words)}, expected 1 to {WORDS_MAX}")
    for _, signature in words:
        check_signature("signature", signature)
    read = tuple(Word(decode_python(commitment), each) for commitment, each in words)
    keys = [word.commitment.node for word in read]
    if keys != sorted(set(keys)):
        raise FormatError("words: expected one of each node, ascending by the nodes' keys")
    return PythonReceipt(spec_of_fields(spec), read)


def _said(word: Word) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    return word.commitment.answer, word.commitment.fingerprint
