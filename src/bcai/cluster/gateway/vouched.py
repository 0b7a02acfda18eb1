"""A challenger's agreement, as it is taken: signed, of this result, of the trace in its receipt.

That the challenger did compute it, its witness shows to whoever does the job again: see
Note [Witness] in proof/agreement.py.
"""

import anyio.to_thread

from bcai.base.errors import InputError
from bcai.cluster.gateway.handed_in import decode_any, read_receipt
from bcai.cluster.store.protocol import BlobStore
from bcai.jobs.job import Job
from bcai.proof.agreement import Agreement, read_agreement
from bcai.proof.evidence import EvidenceClass
from bcai.proof.keys import key_id
from bcai.proof.receipt import Receipt


async def check_agreement(text: str | None, job: Job, blobs: BlobStore) -> tuple[str, str] | None:
    """The key that signed, and what; None where the job has no result to agree with.

    Raises
    ------
    InputError
        It is missing, is no agreement, is not signed, or is about something else.
    """
    if job.outcome is None or job.outcome.receipt is None:
        return None
    if text is None:
        raise InputError(
            "agreement: missing; a result is SETTLED by whoever signs for it",
            hint="bcai node challenge signs; the form is in docs/reference/receipt.md#agreement",
        )
    signed = read_agreement(text)
    words = signed.agreement
    if not signed.is_signed:
        raise InputError("agreement: its signature is another key's")
    if words.job_id != job.id:
        raise InputError(f"agreement: it is of {words.job_id[:80]!r}, expected {job.id!r}")
    if f"blake3:{words.receipt.hex()}" != job.outcome.receipt:
        raise InputError("agreement: it is of another receipt than the result's")
    data = await read_receipt(job.outcome.receipt, blobs)
    await anyio.to_thread.run_sync(_check_trace, words, data)
    return key_id(words.challenger), text


def _check_trace(words: Agreement, data: bytes) -> None:
    receipt = decode_any(data)
    claimed = receipt.commitment
    if words.trace is None:
        if claimed.evidence is EvidenceClass.EXACT:
            raise InputError("agreement: without a trace, and the evidence is exact")
        return
    if words.trace != claimed.trace:
        raise InputError("agreement: its trace is not the receipt's; expected a dispute")
    if isinstance(receipt, Receipt) and words.witness is None:
        raise InputError("agreement: witness: missing; expected that of the last step")
