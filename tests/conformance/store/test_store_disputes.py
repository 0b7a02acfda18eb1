"""Disputes in the store: opened once, answered by their two sides, ended with the settlement."""

import secrets
from dataclasses import replace

import pytest
from tests.conformance.store.store_samples import CAPABILITIES, LEASE_S, NODE, Clock
from tests.conformance.store.test_store_settlements import ended, settlement

from bcai.base.errors import ConflictError, ForbiddenError, NotFoundError, StaleError
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import ApiKey, JobStore, Role
from bcai.jobs.dispute import DisputeRecord, Party, Ruling, Said, asked
from bcai.jobs.job import Job
from bcai.jobs.settlement import SettlementState
from bcai.settings import Settings

pytestmark = pytest.mark.anyio

ROOT, OTHER_ROOT = "ab" * 32, "cd" * 32
ANSWER, OTHER = "blake3:" + "1" * 64, "blake3:" + "2" * 64


async def key_of(store: JobStore, name: str) -> ApiKey:
    return await store.add_key(name, Role.NODE, secrets.token_hex())


async def sides(store: JobStore) -> tuple[Job, ApiKey, ApiKey]:
    """A result, the node's key and a challenger's."""
    node = await key_of(store, "the node's")
    await store.node_seen(
        NODE.id, name=NODE.name, capabilities=CAPABILITIES, key_id=node.id, lease_s=LEASE_S
    )
    return await ended(store), node, await key_of(store, "challenger")


async def opened(store: JobStore, job: Job, key: ApiKey, root: str = ROOT) -> DisputeRecord:
    return await store.open_dispute(job.id, key, size=3, root=root, clock_s=60.0)


def ruled(record: DisputeRecord, *faulty: Party, code: str = "result") -> DisputeRecord:
    ruling = Ruling(
        faulty, code, "instruction 12 (MatMul) does not give this result", record.challenger, 5.0,
        1, 7, 12, "instruction 12 (MatMul)", ("input 'x': float32[2]",), 20, 4000, 1.5,
    )  # fmt: skip
    return replace(record, ruling=ruling)


async def test_a_dispute_goes_from_question_to_question(store: JobStore, clock: Clock) -> None:
    job, node, challenger = await sides(store)
    begun = await opened(store, job, challenger)
    assert (begun.node_id, begun.node_name, begun.opened_at) == (NODE.id, NODE.name, clock.now)
    assert await opened(store, job, challenger) == begun
    assert await store.open_disputes(NODE.id) == [begun] == await store.open_disputes()
    assert await store.open_disputes("another") == []
    first = await store.move_dispute(begun, asked(begun, "00ff", clock.now))
    assert first.missing == (Party.NODE, Party.CHALLENGER)
    clock.now += 1
    said = await store.say(job.id, node, 0, ANSWER)
    assert said.missing == (Party.CHALLENGER,)
    assert said.rounds[0].node == Said(clock.now, ANSWER)
    assert await store.say(job.id, node, 0, ANSWER) == said
    with pytest.raises(ConflictError, match="has answered otherwise"):
        await store.say(job.id, node, 0, OTHER)
    with pytest.raises(ConflictError, match="round: found 1, expected 0"):
        await store.say(job.id, challenger, 1, None)
    both = await store.say(job.id, challenger, 0, None)
    with pytest.raises(StaleError):
        await store.move_dispute(first, asked(both, "01", clock.now))
    second = await store.move_dispute(both, asked(both, "01", clock.now))
    clock.now += 50
    await store.restart_clocks()
    assert (await store.dispute_of(job.id)).rounds[1].asked_at == clock.now
    assert second.rounds[0] == both.rounds[0]


async def test_a_node_that_lost_is_named_in_the_settlement(
    store: JobStore, settings: Settings
) -> None:
    job, node, challenger = await sides(store)
    begun = await opened(store, job, challenger)
    with pytest.raises(ConflictError, match="in dispute: that says"):
        await store.settle(job.id, await key_of(store, "third"))
    over = await store.move_dispute(begun, ruled(begun, Party.NODE))
    found = settlement(await store.get(job.id))
    assert found.state is SettlementState.DISPUTED
    assert (found.by, found.dispute) == ("challenger", over.ruling)
    assert found.lie is not None
    assert (found.lie.code, found.lie.checkpoint, found.lie.steps) == ("result", 1, (7, 8))
    assert f"{NODE.name} ({NODE.id}) did not tell the truth: step 7" in found.text
    with pytest.raises(ConflictError, match="is over"):
        await store.say(job.id, node, 0, ANSWER)
    with pytest.raises(ConflictError, match="nothing to dispute"):
        await opened(store, job, challenger)
    assert await store.open_disputes() == []
    other = open_store(settings)
    await other.start()
    try:
        assert await other.dispute_of(job.id) == over
    finally:
        await other.stop()


async def test_a_challenger_that_lied_is_not_heard_again_but_one_that_died_is(
    store: JobStore,
) -> None:
    job, _, challenger = await sides(store)
    for _ in range(2):
        begun = await opened(store, job, challenger)
        await store.move_dispute(begun, ruled(begun, Party.CHALLENGER, code="silent"))
    begun = await opened(store, job, challenger)
    await store.move_dispute(begun, ruled(begun, Party.CHALLENGER, code="silent"))
    with pytest.raises(ForbiddenError, match="has lost a dispute about this result"):
        await opened(store, job, challenger)
    liar = await key_of(store, "liar")
    begun = await opened(store, job, liar)
    await store.move_dispute(begun, ruled(begun, Party.CHALLENGER))
    found = settlement(await store.get(job.id))
    assert found.state is SettlementState.COMMITTED
    assert "liar disputed it and lost" in found.text
    with pytest.raises(ForbiddenError, match="has lost a dispute"):
        await opened(store, job, liar)
    settled = await store.settle(job.id, await key_of(store, "honest"), "done again")
    assert settlement(settled).state is SettlementState.SETTLED


async def test_who_may_not_dispute_or_answer(store: JobStore) -> None:
    job, node, challenger = await sides(store)
    with pytest.raises(ForbiddenError, match="the node itself came with"):
        await opened(store, job, node)
    with pytest.raises(NotFoundError):
        await store.dispute_of(job.id)
    begun = await opened(store, job, challenger)
    third = await key_of(store, "third")
    with pytest.raises(ConflictError, match="in dispute already, with challenger"):
        await opened(store, job, third)
    with pytest.raises(ConflictError, match="in dispute already"):
        await opened(store, job, challenger, OTHER_ROOT)
    await store.move_dispute(begun, asked(begun, "00", 1.0))
    with pytest.raises(ForbiddenError, match="of neither side"):
        await store.say(job.id, third, 0, ANSWER)


async def test_a_node_signs_with_one_key_for_ever(store: JobStore) -> None:
    async def seen(node_id: str, key: str) -> None:
        await store.node_seen(
            node_id, name=node_id, capabilities=CAPABILITIES, signing_key=key, lease_s=LEASE_S
        )

    await seen("node-1", "ed25519:" + "1" * 64)
    await seen("node-1", "ed25519:" + "1" * 64)
    with pytest.raises(ForbiddenError, match="'node-1' is bound to another signing key"):
        await seen("node-1", "ed25519:" + "2" * 64)
    with pytest.raises(ForbiddenError, match="is bound to the node id 'node-1' already"):
        await seen("node-2", "ed25519:" + "1" * 64)
    await seen("node-2", "ed25519:" + "2" * 64)
    nodes = {each.id: each.signing_key for each in await store.nodes(online_within_s=60)}
    assert nodes["node-2"] == "ed25519:" + "2" * 64
