"""An agreement is taken if it is signed, of this result, and of the trace in its receipt."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.unit.cluster.scheduler.scheduler_samples import make_job
from tests.unit.proof.small_run import NODE, training

from bcai.base.digest import digest_of
from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.cluster.gateway.vouched import check_agreement
from bcai.jobs.job import Job
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import Move
from bcai.proof.agreement import (
    Agreement,
    SignedAgreement,
    agreement_text,
    sign_agreement,
)
from bcai.proof.evidence import EvidenceClass
from bcai.proof.keys import SigningKey, key_id
from bcai.proof.receipt import Receipt, encode_receipt

pytestmark = pytest.mark.anyio

KEY, OTHER = (SigningKey.from_random(bytes([number]) * 32) for number in (5, 6))
RECEIPT = training().receipt(NODE)


@dataclass
class Blobs:
    """One receipt."""

    content: bytes

    async def put(self, digest: str, chunks: AsyncIterator[bytes], *, size_max: int) -> int:
        raise AssertionError((digest, chunks, size_max))

    async def size(self, digest: str) -> int | None:
        return len(self.content) if digest == digest_of(self.content) else None

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        del digest
        yield self.content


def done(receipt: Receipt = RECEIPT) -> tuple[Job, Blobs]:
    content = encode_receipt(receipt)
    reason = Reason(ReasonCode.SUCCEEDED, "done")
    outcome = Outcome(Move.SUCCEED, reason, receipt=digest_of(content))
    return replace(make_job(), outcome=outcome), Blobs(content)


def words(**changes: Any) -> Agreement:
    """What an honest challenger signs."""
    honest = Agreement(
        job_id=make_job().id,
        receipt=bytes.fromhex(digest_of(encode_receipt(RECEIPT)).partition(":")[2]),
        trace=RECEIPT.trace.head,
        witness=bytes(32),
        challenger=KEY.public,
        claimed_at=1.0,
    )
    return replace(honest, **changes)


async def test_a_signed_agreement_about_the_result_is_taken() -> None:
    text = agreement_text(sign_agreement(words(), KEY))
    assert await check_agreement(text, *done()) == (key_id(KEY.public), text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"job_id": "job_2"}, "it is of 'job_2', expected 'job_1'"),
        ({"receipt": bytes(32)}, "of another receipt than the result's"),
        ({"trace": TreeHead(1, bytes(32))}, "its trace is not the receipt's; expected a dispute"),
        ({"trace": None, "witness": None}, "without a trace, and the evidence is exact"),
        ({"witness": None}, "witness: missing; expected that of the last step"),
    ],
)
async def test_one_about_something_else_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        await check_agreement(agreement_text(sign_agreement(words(**changes), KEY)), *done())


async def test_one_that_nobody_signed_or_that_is_none_is_refused() -> None:
    signed = sign_agreement(words(), KEY)
    stolen = SignedAgreement(words(challenger=OTHER.public), signed.signature)
    with pytest.raises(InputError, match="its signature is another key's"):
        await check_agreement(agreement_text(stolen), *done())
    with pytest.raises(InputError, match="agreement: missing; a result is SETTLED by whoever"):
        await check_agreement(None, *done())
    with pytest.raises(FormatError, match="agreement"):
        await check_agreement("AAAA", *done())


async def test_what_has_no_defined_bits_is_agreed_with_without_a_trace() -> None:
    claimed = replace(RECEIPT.commitment, evidence=EvidenceClass.REPLICATED)
    receipt = replace(RECEIPT, commitment=claimed)
    digest = bytes.fromhex(digest_of(encode_receipt(receipt)).partition(":")[2])
    plain = words(receipt=digest, trace=None, witness=None)
    text = agreement_text(sign_agreement(plain, KEY))
    assert await check_agreement(text, *done(receipt)) == (key_id(KEY.public), text)


async def test_a_job_without_a_result_has_nothing_to_agree_with() -> None:
    assert await check_agreement(None, make_job(), Blobs(b"")) is None
