"""Where results stand: beside the jobs, durable, moved once, never by the node's own key."""

import secrets
from dataclasses import replace

import pytest
from tests.conformance.store.store_samples import (
    CAPABILITIES,
    LEASE_S,
    NODE,
    Clock,
    failure,
    finished,
    started,
    success,
)

from bcai.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import ApiKey, JobStore, Role
from bcai.jobs.dispute import Party, Ruling
from bcai.jobs.job import Job
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import APPEAL_S, Settlement, SettlementState, is_drawn
from bcai.jobs.spec import FileRef, JobKind, JobSpec
from bcai.jobs.verify import NO_CHECK, Policy, Verify
from bcai.settings import Settings

pytestmark = pytest.mark.anyio

RECEIPT = "blake3:" + "a" * 64
FULL = Verify(Policy.FULL, 1.0)


async def ended(
    store: JobStore,
    verify: Verify = FULL,
    outcome: Outcome | None = None,
    *,
    spec: JobSpec | None = None,
) -> Job:
    file = FileRef("step.bcai", RECEIPT, 3)
    program = JobSpec("job", entry="step.bcai", files=(file,), kind=JobKind.PROGRAM, verify=verify)
    spec = spec or program
    job, _ = await store.submit("ann", spec)
    job = await store.assign(job, NODE, lease_s=LEASE_S)
    outcome = outcome or replace(success(), receipt=RECEIPT)
    assert await store.record(NODE.id, [started(job), finished(job, 2, outcome)]) == [None, None]
    return await store.get(job.id)


async def challenger(store: JobStore) -> ApiKey:
    return await store.add_key("challenger", Role.NODE, secrets.token_hex())


def settlement(job: Job) -> Settlement:
    assert job.settlement is not None
    return job.settlement


async def test_a_result_is_committed_until_its_audit(store: JobStore, clock: Clock) -> None:
    first, second = await ended(store), await ended(store)
    assert settlement(first).state is SettlementState.COMMITTED
    assert {job.id for job in await store.audits_due()} == {first.id, second.id}
    assert len(await store.audits_due(limit=1)) == 1
    clock.now += 5
    key = await challenger(store)
    agreed = await store.settle(first.id, key, "done again")
    assert agreed == await store.get(first.id)
    assert settlement(agreed).state is SettlementState.SETTLED
    assert (settlement(agreed).by, settlement(agreed).at) == ("challenger", clock.now)
    assert await store.settle(first.id, key, "done again") == agreed
    assert [job.id for job in await store.audits_due()] == [second.id]
    begun = await store.open_dispute(second.id, key, accusation=("receipt.job", ""), clock_s=1.0)
    ruling = Ruling((Party.NODE,), "receipt.job", "another job's", "challenger", clock.now)
    await store.move_dispute(begun, replace(begun, ruling=ruling))
    disputed = settlement(await store.get(second.id))
    assert disputed.state is SettlementState.DISPUTED
    assert disputed.lie is not None
    assert (disputed.lie.code, disputed.node_name) == ("receipt.job", NODE.name)
    assert await store.audits_due() == []
    with pytest.raises(ConflictError):
        await store.settle(second.id, key)


async def test_only_a_captured_script_may_differ_with_nobody_blamed(store: JobStore) -> None:
    key = await challenger(store)
    plain = await ended(store)
    with pytest.raises(InputError, match="agrees: found false, but only a captured script"):
        await store.settle(plain.id, key, "it differs", agrees=False)
    assert settlement(await store.get(plain.id)).state is SettlementState.COMMITTED
    captured = JobSpec("job", code="x = 1", capture=True, verify=FULL)
    job = await ended(store, spec=captured)
    found = settlement(await store.settle(job.id, key, "nobody can be blamed", agrees=False))
    assert (found.state, found.lie, found.by) == (SettlementState.DISPUTED, None, "challenger")
    assert found.text == "nobody can be blamed"
    begun = await store.open_dispute(job.id, key, size=1, root="ab" * 32, clock_s=1.0, part=3)
    assert begun.part == 3
    assert await store.dispute_of(job.id) == begun
    with pytest.raises(ConflictError, match="in dispute already"):
        await store.open_dispute(job.id, key, size=1, root="ab" * 32, clock_s=1.0, part=4)


async def test_what_stands_outlives_the_process(store: JobStore, settings: Settings) -> None:
    job = await ended(store)
    other = open_store(settings)
    await other.start()
    try:
        assert [each.id for each in await other.audits_due()] == [job.id]
        assert (await other.get(job.id)).settlement == job.settlement
    finally:
        await other.stop()


async def test_the_lot_is_drawn_anew_and_can_be_drawn_again(store: JobStore) -> None:
    half = Verify(Policy.AUDITED, 0.5)
    jobs = [await ended(store, half) for _ in range(24)]
    assert len({settlement(job).salt for job in jobs}) == len(jobs)
    for job in jobs:
        found = settlement(job)
        drawn = is_drawn(job.id, RECEIPT, found.salt, 0.5)
        expected = SettlementState.COMMITTED if drawn else SettlementState.SETTLED
        assert found.state is expected


async def test_a_node_does_not_settle_its_own_work(store: JobStore) -> None:
    own = await store.add_key("the node's", Role.NODE, "secret")
    await store.node_seen(
        NODE.id, name=NODE.name, capabilities=CAPABILITIES, key_id=own.id, lease_s=LEASE_S
    )
    job = await ended(store)
    with pytest.raises(ForbiddenError, match="the node itself came with"):
        await store.settle(job.id, own)
    assert settlement(await store.get(job.id)).state is SettlementState.COMMITTED
    settled = await store.settle(job.id, await challenger(store))
    assert settlement(settled).state is SettlementState.SETTLED


async def test_more_may_vouch_but_not_with_the_nodes_key_or_its_owners(store: JobStore) -> None:
    own = await store.add_key("the node's", Role.NODE, "secret")
    for name in (NODE.id, "its other node"):
        await store.node_seen(
            name, name=name, capabilities=CAPABILITIES, key_id=own.id, lease_s=LEASE_S,
            signing_key=f"key of {name}",
        )  # fmt: skip
    job = await ended(store)
    ann, bob = [await store.add_key(name, Role.NODE, secrets.token_hex()) for name in "ab"]
    for name in (NODE.id, "its other node"):
        with pytest.raises(ForbiddenError, match="signs for the node whose work this is"):
            await store.settle(job.id, ann, vouched=(f"key of {name}", "signed"))
    assert settlement(await store.get(job.id)).state is SettlementState.COMMITTED
    await store.settle(job.id, ann, vouched=("key a", "signed a"))
    await store.settle(job.id, bob, vouched=("key b", "signed b"))
    again = settlement(await store.settle(job.id, bob, vouched=("key b", "signed b")))
    assert [(each.by, each.key, each.agreement) for each in again.vouchers] == [
        ("a", "key a", "signed a"), ("b", "key b", "signed b"),
    ]  # fmt: skip
    assert (again.state, again.by) == (SettlementState.SETTLED, "a")


async def test_a_settled_result_is_disputed_in_time_or_not_at_all(
    store: JobStore, clock: Clock
) -> None:
    job, late = await ended(store), await ended(store)
    ann = await challenger(store)
    for each in (job, late):
        await store.settle(each.id, ann, vouched=("key a", "signed"))
    begun = await store.open_dispute(job.id, ann, size=3, root="ab" * 32, clock_s=1.0)
    ruling = Ruling((Party.NODE,), "result", "lies", "challenger", clock.now)
    await store.move_dispute(begun, replace(begun, ruling=ruling))
    found = settlement(await store.get(job.id))
    assert (found.state, [each.by for each in found.vouchers]) == (
        SettlementState.DISPUTED, ["challenger"],
    )  # fmt: skip
    assert found.text.endswith("vouched for by challenger")
    clock.now += APPEAL_S + 1
    with pytest.raises(ConflictError, match="is SETTLED: there is nothing to dispute"):
        await store.open_dispute(late.id, ann, size=3, root="ab" * 32, clock_s=1.0)


async def test_jobs_that_asked_for_no_check_or_failed_have_none(store: JobStore) -> None:
    key = await challenger(store)
    for job in (await ended(store, NO_CHECK), await ended(store, FULL, failure())):
        assert job.settlement is None
        with pytest.raises(NotFoundError):
            await store.settle(job.id, key)
    assert await store.audits_due() == []


async def test_a_result_without_a_receipt_is_disputed_at_once(store: JobStore) -> None:
    found = settlement(await ended(store, FULL, success()))
    assert found.state is SettlementState.DISPUTED
    assert found.lie is not None
    assert found.lie.code == "receipt.missing"
