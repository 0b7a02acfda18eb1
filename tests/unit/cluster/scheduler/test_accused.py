"""What a challenger says is not so is looked at: whoever of the two lied is named."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster.node.test_audit import JOB, KEY, do, plan
from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_job

from bcai.base.errors import DependencyError, InputError
from bcai.cluster.scheduler.accused import rule_accused
from bcai.jobs.dispute import DisputeRecord, Party, Ruling
from bcai.jobs.job import Job
from bcai.jobs.settlement import commit
from bcai.jobs.spec import JobKind
from bcai.jobs.verify import Policy, Verify
from bcai.proof.keys import SigningKey, key_id
from bcai.proof.receipt import encode_receipt

pytestmark = pytest.mark.anyio

HONEST, OTHER = do(plan()), do(plan(seed=2))


def handed_in(
    *, receipt: bytes | None = None, state: Mapping[str, Any] | None = None, key: SigningKey = KEY
) -> tuple[Job, dict[str, bytes]]:
    outcome, blobs = HONEST.result(receipt, state)
    settlement = commit(
        Verify(Policy.FULL, 1.0), job_id=JOB, receipt=outcome.receipt, salt="00", node_id="n",
        node_name="box", at=NOW, node_key=key_id(key.public),
    )  # fmt: skip
    job = replace(make_job(), id=JOB, spec=HONEST.spec, outcome=outcome, settlement=settlement)
    return job, blobs


async def ruled(job: Job, blobs: Mapping[str, bytes], code: str) -> Ruling:
    record = DisputeRecord(
        "dispute_1", JOB, "n", "box", "ann", "key_2", 0, "", NOW, 60.0,
        accusation=code, claim="it is not so",
    )  # fmt: skip

    async def read(digest: str) -> bytes:
        if digest not in blobs:
            raise DependencyError(f"not in the store: {digest}")
        return blobs[digest]

    found = (await rule_accused(record, job, read, NOW + 1)).ruling
    assert found is not None
    return found


async def test_other_outputs_than_those_signed_for_name_the_node() -> None:
    state = {**HONEST.state, "weights": HONEST.state["weights"] + 1}
    found = await ruled(*handed_in(state=state), "outputs.delivered")
    assert (found.faulty, found.code) == ((Party.NODE,), "outputs.delivered")
    assert "output 'state' is not the one that it signed for" in found.text


@pytest.mark.parametrize("code", ["outputs.delivered", "receipt.format", "order.impossible"])
async def test_who_accuses_an_honest_node_has_lied(code: str) -> None:
    found = await ruled(*handed_in(), code)
    assert (found.faulty, found.code) == ((Party.CHALLENGER,), "accusation.false")
    assert f"fit together, unlike it said: it is not so [{code}]" in found.message


async def test_what_is_found_counts_and_not_what_was_said() -> None:
    found = await ruled(*handed_in(receipt=b"no receipt"), "outputs.delivered")
    assert (found.faulty, found.code) == ((Party.NODE,), "receipt.format")
    other = encode_receipt(OTHER.receipt)
    assert (await ruled(*handed_in(receipt=other), "outputs.names")).code == "run.other"
    stranger = SigningKey.from_random(b"\7" * 32)
    assert (await ruled(*handed_in(key=stranger), "node.key")).faulty == (Party.NODE,)


async def test_nobody_lied_where_a_file_is_not_to_be_had_or_nothing_can_be_looked_at() -> None:
    job, blobs = handed_in()
    assert job.outcome is not None
    lost = {digest: each for digest, each in blobs.items() if digest != job.outcome.receipt}
    with pytest.raises(DependencyError, match="not in the store"):
        await ruled(job, lost, "receipt.format")
    captured = replace(job.spec, kind=JobKind.PYTHON, code="x", entry=None)
    with pytest.raises(InputError, match="kind: found python, expected one of training, program"):
        await ruled(replace(job, spec=captured), blobs, "receipt.format")
