"""Nodes and their leases, and API keys."""

import pytest
from tests.conformance.store.store_samples import CAPABILITIES, LEASE_S, LOST, NODE, Clock, spec

from bcai.base.errors import ForbiddenError, InputError, NotFoundError, StaleError
from bcai.cluster.store.protocol import JobStore, Role
from bcai.jobs.states import JobState

pytestmark = pytest.mark.anyio


async def test_a_node_is_online_while_it_calls(store: JobStore, clock: Clock) -> None:
    with pytest.raises(InputError):
        await store.node_seen("node-1", lease_s=LEASE_S)
    await store.node_seen("node-1", name="laptop", capabilities=CAPABILITIES, lease_s=LEASE_S)
    (node,) = await store.nodes(online_within_s=5)
    assert (node.name, node.capabilities, node.online) == ("laptop", CAPABILITIES, True)
    clock.now += 6
    assert [node.online for node in await store.nodes(online_within_s=5)] == [False]
    await store.node_seen("node-1", lease_s=LEASE_S)
    (node,) = await store.nodes(online_within_s=5)
    assert (node.seen_at, node.online, node.capabilities) == (clock.now, True, CAPABILITIES)


async def test_heartbeats_renew_leases_and_name_the_stale(store: JobStore, clock: Clock) -> None:
    await store.node_seen("node-1", name="laptop", capabilities=CAPABILITIES, lease_s=LEASE_S)
    kept = await store.assign((await store.submit("ann", spec()))[0], NODE, lease_s=LEASE_S)
    lost = await store.assign((await store.submit("ann", spec()))[0], NODE, lease_s=LEASE_S)
    assert [set(node.running) for node in await store.nodes(online_within_s=5)] == [
        {kept.id, lost.id}
    ]
    await store.release(lost, LOST, backoff_s=0)
    clock.now += 5
    pairs = [(kept.id, kept.lock_token), (lost.id, lost.lock_token), ("job_none", "x")]
    stale = await store.node_seen("node-1", held=pairs, lease_s=LEASE_S)
    assert stale == pairs[1:]
    assert (await store.get(kept.id)).lease_until == clock.now + LEASE_S
    assert (await store.get(lost.id)).lease_until is None


async def test_a_job_whose_lease_was_renewed_meanwhile_is_not_lost(
    store: JobStore, clock: Clock
) -> None:
    await store.node_seen("node-1", name="laptop", capabilities=CAPABILITIES, lease_s=LEASE_S)
    job = await store.assign((await store.submit("ann", spec()))[0], NODE, lease_s=LEASE_S)
    clock.now += LEASE_S + 1
    (overdue,) = await store.running()
    pair = (job.id, job.lock_token)
    assert await store.node_seen("node-1", held=[pair], lease_s=LEASE_S) == []
    with pytest.raises(StaleError, match="was renewed meanwhile"):
        await store.release(overdue, LOST, backoff_s=0)
    (held,) = await store.running()
    assert (held.state, held.lock_token) == (JobState.ASSIGNED, job.lock_token)
    assert (await store.release(held, LOST, backoff_s=0)).state is JobState.QUEUED


async def test_another_node_does_not_renew_a_lease(store: JobStore, clock: Clock) -> None:
    job = await store.assign((await store.submit("ann", spec()))[0], NODE, lease_s=LEASE_S)
    clock.now += 5
    pair = (job.id, job.lock_token)
    stale = await store.node_seen(
        "node-2", name="thief", capabilities=CAPABILITIES, held=[pair], lease_s=LEASE_S
    )
    assert stale == [pair]
    assert (await store.get(job.id)).lease_until == job.lease_until


async def test_a_nodes_id_belongs_to_its_first_key_until_that_is_revoked(store: JobStore) -> None:
    own = await store.add_key("node", Role.NODE, "bcai_own")
    other = await store.add_key("other", Role.NODE, "bcai_other")

    async def hello(key_id: str) -> None:
        await store.node_seen(
            "node-1", name="laptop", capabilities=CAPABILITIES, key_id=key_id, lease_s=LEASE_S
        )

    await hello(own.id)
    await hello(own.id)
    with pytest.raises(ForbiddenError, match="another API key"):
        await hello(other.id)
    await store.node_seen("node-1", lease_s=LEASE_S)
    await store.revoke_key(own.id)
    await hello(other.id)
    with pytest.raises(ForbiddenError):
        await hello(own.id)


async def test_keys_live_until_they_are_revoked(store: JobStore, clock: Clock) -> None:
    key = await store.add_key("laptop", Role.CLIENT, "bcai_secret")
    other = await store.add_key("node", Role.NODE, "bcai_other")
    assert await store.find_key("bcai_secret") == key
    assert await store.find_key("bcai_Secret") is None
    revoked = await store.revoke_key(key.id)
    assert revoked.revoked_at == clock.now
    clock.now += 1
    assert await store.revoke_key(key.id) == revoked
    assert await store.find_key("bcai_secret") is None
    assert await store.find_key("bcai_other") == other
    assert {each.id for each in await store.list_keys()} == {key.id, other.id}
    with pytest.raises(NotFoundError):
        await store.revoke_key("key_none")


async def test_a_secret_that_is_there_already_is_one_key(store: JobStore) -> None:
    key = await store.add_key("laptop", Role.CLIENT, "bcai_secret")
    assert await store.add_key("laptop", Role.CLIENT, "bcai_secret") == key
    assert len(await store.list_keys()) == 1
