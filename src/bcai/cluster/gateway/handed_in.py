"""What a node hands in as its own: signed with the key that is bound to its id, and of this job.

Equal runs have equal traces, so a trace alone never tells who made it. What a node cannot do is
hand in what another node has signed.
"""

from base64 import b64decode

import anyio.to_thread

from bcai.base.errors import ForbiddenError, FormatError, NotFoundError
from bcai.base.units import MIB, format_size
from bcai.cluster.store.protocol import BlobStore
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import Move
from bcai.proof.capture_receipt import MAGIC as CAPTURE_MAGIC
from bcai.proof.capture_receipt import CaptureReceipt, decode_capture
from bcai.proof.commitment import is_commitment_signed
from bcai.proof.keys import Domain, is_signed, key_id, parse_key_id
from bcai.proof.python_commitment import is_python_signed
from bcai.proof.python_receipt import decode_word
from bcai.proof.receipt import Receipt, decode_receipt
from bcai.wire.nodes import Finished, Hello, Report

RECEIPT_BYTES_MAX = 512 * MIB
"""It is read whole; a receipt of a million checkpoints has 100 MiB."""


def signing_key_of(hello: Hello) -> str | None:
    """The key that a node proves to have. Raises ForbiddenError."""
    if not hello.signing_key:
        return None
    public, proof = parse_key_id(hello.signing_key), bytes.fromhex(hello.key_proof)
    if not is_signed(public, Domain.NODE, hello.node_id.encode(), proof):
        raise ForbiddenError("key_proof: the signing key did not sign the node id")
    return hello.signing_key


async def vetted(report: Report, signing_key: str | None, blobs: BlobStore) -> Report:
    """The report; the end of an attempt that hands in what is not the node's own is a failure."""
    body = report.body
    if not isinstance(body, Finished):
        return report
    if body.outcome.receipt is None and body.outcome.word is None:
        return report
    try:
        await _check(report.job_id, body.outcome, signing_key, blobs)
    except (FormatError, NotFoundError, ForbiddenError) as error:
        message = f"what the node handed in is not its own: {error}"
        reason = Reason(ReasonCode.NODE_ERROR, message, "the job runs again, on any node")
        ended = Finished(at=body.at, outcome=Outcome(Move.RETRY, reason))
        return report.model_copy(update={"body": ended})
    return report


async def read_receipt(digest: str, blobs: BlobStore) -> bytes:
    """A receipt of the store, whole. Raises NotFoundError and FormatError."""
    size = await blobs.size(digest)
    if size is None:
        raise NotFoundError(f"there is no receipt {digest}")
    if size > RECEIPT_BYTES_MAX:
        raise FormatError(f"a receipt has at most {format_size(RECEIPT_BYTES_MAX)}")
    return b"".join([chunk async for chunk in blobs.read(digest)])


def decode_any(data: bytes) -> Receipt | CaptureReceipt:
    """A receipt of a run, or of a captured script. Raises FormatError."""
    return decode_capture(data) if data.startswith(CAPTURE_MAGIC) else decode_receipt(data)


async def _check(job_id: str, outcome: Outcome, signing_key: str | None, blobs: BlobStore) -> None:
    if signing_key is None:
        raise ForbiddenError("the node came without a signing key")
    node = parse_key_id(signing_key)
    if outcome.word is not None:
        _check_word(outcome.word, node)
    for output in outcome.outputs:
        if output.digest is not None and await blobs.size(output.digest) is None:
            raise NotFoundError(f"there is no blob {output.digest} of output {output.name!r}")
    if outcome.receipt is None:
        return
    data = await read_receipt(outcome.receipt, blobs)
    await anyio.to_thread.run_sync(_check_receipt, data, job_id, node)


def _check_word(word: str, node: bytes) -> None:
    try:
        found = decode_word(b64decode(word, validate=True))
    except ValueError as error:
        raise FormatError(f"not base64: {error}") from error
    if found.commitment.node != node:
        raise ForbiddenError(_other(found.commitment.node, node))
    if not is_python_signed(found.commitment, found.signature):
        raise ForbiddenError("its signature is another key's")


def _check_receipt(data: bytes, job_id: str, node: bytes) -> None:
    receipt = decode_any(data)
    commitment = receipt.commitment
    if commitment.node != node:
        raise ForbiddenError(_other(commitment.node, node))
    if not is_commitment_signed(commitment, receipt.signature):
        raise ForbiddenError("its signature is another key's")
    if commitment.job_id != job_id:
        raise ForbiddenError(f"it is of {commitment.job_id!r}, another job")


def _other(found: bytes, node: bytes) -> str:
    return f"signed by {key_id(found)}; this node signs with {key_id(node)}"
