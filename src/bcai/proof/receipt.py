r"""A receipt: one file that says what was run, what came out, and who answers for it.

    b"bcai-receipt\x00" then canonical CBOR of
    [version, run, program, [spec, client key, signature] or null, commitment, signature,
     [checkpoint, ...], [tensor of the final state, ...], [output of the last step, ...],
     [output root of each step since the last checkpoint but one, ...]]

Run, program and commitment are their own canonical bytes. A tensor is [name, element type, [sizes],
hash of its content].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bcai.base.errors import FormatError
from bcai.proof.canonical import check_hash, check_text, decode_canonical
from bcai.proof.commitment import Commitment, decode_commitment, encode_commitment
from bcai.proof.keys import SIGNATURE_BYTES
from bcai.proof.recorder import Checkpoint, Trace, decode_checkpoint, encode_checkpoint
from bcai.proof.run import Run, decode_run, encode_run
from bcai.proof.state import TensorHash, decode_tensor, encode_tensor
from bcai.vm.program import cbor
from bcai.vm.program.codec import decode_program, encode_program
from bcai.vm.program.program import Program

MAGIC = b"bcai-receipt\x00"
VERSION = 1
BYTES_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class SignedSpec:
    """What the client asked for: canonical bytes, its key, its signature."""

    spec: bytes
    client: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """See the module for the parts; `check_receipt` holds them against each other."""

    run: Run
    program: Program
    commitment: Commitment
    signature: bytes
    checkpoints: tuple[Checkpoint, ...]
    final_state: tuple[TensorHash, ...]
    last_outputs: tuple[TensorHash, ...]
    output_roots: tuple[bytes, ...]
    spec: SignedSpec | None = None

    def __repr__(self) -> str:
        """Sum it up: the program and its hashes would fill the screen."""
        job, evidence = self.commitment.job_id, self.commitment.evidence
        return f"<Receipt of {job}: {self.run.steps} steps, evidence {evidence}>"

    @property
    def trace(self) -> Trace:
        """Its checkpoints."""
        return Trace(self.checkpoints)


def encode_receipt(receipt: Receipt) -> bytes:
    """Canonical bytes of a receipt: the file."""
    spec = receipt.spec
    return MAGIC + cbor.encode(
        [
            VERSION,
            encode_run(receipt.run),
            encode_program(receipt.program),
            None if spec is None else spec_fields(spec),
            encode_commitment(receipt.commitment),
            receipt.signature,
            [encode_checkpoint(each) for each in receipt.checkpoints],
            [encode_tensor(each) for each in receipt.final_state],
            [encode_tensor(each) for each in receipt.last_outputs],
            list(receipt.output_roots),
        ]
    )


def decode_receipt(data: bytes) -> Receipt:
    """Read a receipt file. That it is a receipt says nothing about whether it is true.

    Raises
    ------
    FormatError
        It is not the canonical encoding of a receipt.
    """
    return decode_canonical(data, MAGIC, "receipt", BYTES_MAX, _build, encode_receipt)


def spec_fields(spec: SignedSpec) -> list[bytes]:
    """What stands for it in a receipt of any kind."""
    return [spec.spec, spec.client, spec.signature]


def spec_of_fields(fields: Any) -> SignedSpec:
    """Undo `spec_fields`. Raises FormatError, or what unpacking raises."""
    spec, client, signature = fields
    if type(spec) is not bytes:
        raise FormatError(f"spec: found {type(spec).__name__}, expected bytes")
    check_hash("spec: client key", client)
    check_signature("spec: signature", signature)
    return SignedSpec(spec, client, signature)


def check_signature(name: str, value: object) -> None:
    """Raise FormatError where it has not a signature's length."""
    if type(value) is not bytes or len(value) != SIGNATURE_BYTES:
        raise FormatError(f"{name}: expected {SIGNATURE_BYTES} bytes")


def _build(fields: Any) -> Receipt:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    _, run, program, spec, commitment, signature, points, state, outputs, roots = fields
    check_signature("signature", signature)
    for root in roots:
        check_hash("output_roots", root)
    return Receipt(
        decode_run(run),
        decode_program(program),
        decode_commitment(commitment),
        signature,
        tuple(decode_checkpoint(each) for each in points),
        _tensors(state),
        _tensors(outputs),
        tuple(roots),
        None if spec is None else spec_of_fields(spec),
    )


def _tensors(fields: Sequence[Any]) -> tuple[TensorHash, ...]:
    tensors = tuple(decode_tensor(*each) for each in fields)
    for tensor in tensors:
        check_text("tensor", tensor.name)
        check_hash(f"tensor {tensor.name!r}", tensor.content)
    return tensors
