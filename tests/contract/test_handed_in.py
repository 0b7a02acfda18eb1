"""What a node hands in is its own: its key is bound to its id, and others' receipts are refused."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bcai.base.digest import digest_of
from bcai.cluster.store.protocol import Role
from bcai.jobs.outcome import Output
from bcai.proof.commitment import sign_commitment
from bcai.proof.keys import Domain, SigningKey, key_id
from bcai.proof.receipt import Receipt, encode_receipt
from bcai.wire.nodes import Finished, Hello, Started, Welcome
from tests.unit.proof.small_run import NODE, OTHER_NODE, training

from .gateway_process import SECRETS, Gateway, submitted
from .node_side import CAPABILITIES, SUCCESS, Node, assign

SMALL = training()
KEYS = {"node_one": NODE, "node_two": OTHER_NODE}


@contextmanager
def signing(
    gateway: Gateway, node_id: str, key: SigningKey, proof: bytes | None = None
) -> Generator[Node, None, None]:
    """A node that came with a key."""
    url = gateway.url.replace("http", "ws", 1) + "/v1/nodes/connect"
    headers = {"Authorization": f"Bearer {SECRETS[Role.NODE]}"}
    signed = key.sign(Domain.NODE, node_id.encode()) if proof is None else proof
    with connect(url, additional_headers=headers, max_size=None) as socket:
        node = Node(socket, node_id)
        node.send(
            Hello(
                node_id=node_id,
                name=node_id,
                capabilities=CAPABILITIES,
                signing_key=key_id(key.public),
                key_proof=signed.hex(),
            )
        )
        assert isinstance(node.receive(), Welcome)
        yield node


def receipt_of(job_id: str, key: SigningKey) -> Receipt:
    receipt = SMALL.receipt(key)
    commitment = replace(receipt.commitment, job_id=job_id)
    return replace(receipt, commitment=commitment, signature=sign_commitment(commitment, key))


def handed_in(
    gateway: Gateway,
    node_id: str,
    receipt: Receipt | None,
    job_id: str,
    outputs: tuple[Output, ...] = (),
) -> str:
    """Hand in a receipt for a job; return what the attempt is said to have ended with."""
    content = b"nothing that was uploaded" if receipt is None else encode_receipt(receipt)
    digest = digest_of(content)
    with signing(gateway, node_id, KEYS[node_id]) as node, gateway.client(Role.NODE) as client:
        if receipt is not None:
            client.put(f"/v1/blobs/{digest}", content=content).raise_for_status()
        assign(gateway, job_id, node_id)
        work = node.assigned()
        node.report(work, 1, Started(at=1.0))
        outcome = replace(SUCCESS, receipt=digest, outputs=outputs)
        node.report(work, 2, Finished(at=2.0, outcome=outcome))
        node.wait_for_ack(2)
    with gateway.client() as client:
        job = client.get(f"/v1/jobs/{job_id}").json()
    return job["attempts"][-1]["reason"]["message"]


def test_its_own_receipt_is_taken(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
    assert handed_in(gateway, "node_one", receipt_of(job_id, NODE), job_id) == "the job succeeded"


def test_an_output_that_nobody_can_fetch_is_refused(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
    lost = (Output("state", "state_dict", digest=digest_of(b"never uploaded")),)
    ended = handed_in(gateway, "node_one", receipt_of(job_id, NODE), job_id, lost)
    assert f"there is no blob {lost[0].digest} of output 'state'" in ended


def test_another_nodes_receipt_is_refused(gateway: Gateway) -> None:
    """It is genuine, of this very job, and signed: only not by the node that got the job."""
    with gateway.client() as client:
        job_id = submitted(client, max_retries=0)
    said = handed_in(gateway, "node_two", receipt_of(job_id, NODE), job_id)
    assert f"signed by {key_id(NODE.public)}; this node signs with" in said


def test_a_receipt_under_its_name_that_another_signed_is_refused(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client, max_retries=0)
    stolen = receipt_of(job_id, NODE)
    named = replace(stolen, commitment=replace(stolen.commitment, node=OTHER_NODE.public))
    assert "its signature is another key's" in handed_in(gateway, "node_two", named, job_id)


def test_its_receipt_of_another_job_and_one_that_is_not_there_are_refused(
    gateway: Gateway,
) -> None:
    with gateway.client() as client:
        one, two = submitted(client, max_retries=0), submitted(client, max_retries=0)
    assert "another job" in handed_in(gateway, "node_one", receipt_of("job_9", NODE), one)
    assert "there is no receipt blake3:" in handed_in(gateway, "node_one", None, two)


def test_a_key_is_bound_to_its_node(gateway: Gateway) -> None:
    third = SigningKey.from_random(bytes([9]) * 32)
    with signing(gateway, "node_bound", third):
        pass
    stranger = SigningKey.from_random(bytes([8]) * 32)
    proof = stranger.sign(Domain.NODE, b"node_other")
    for node_id, key, its_proof, said in (
        ("node_bound", stranger, None, "is bound to another signing key: ed25519:"),
        ("node_other", third, None, "is bound to the node id 'node_bound' already"),
        ("node_other", third, proof, "did not sign the node id"),
    ):
        with (
            pytest.raises(ConnectionClosed) as refused,
            signing(gateway, node_id, key, its_proof),
        ):
            raise AssertionError("it was welcomed")
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 1008
        assert said in refused.value.rcvd.reason
