"""The node's WebSocket: work goes out once, reports come in durably, and stale ones are dropped."""

from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bcai.cluster.store.protocol import Role
from bcai.jobs.environment import Environment
from bcai.wire.nodes import Ack, Cancel, Drop, Heartbeat, Held, Log, Offer, Started

from .gateway_process import SECRETS, Gateway, submitted
from .node_side import CAPABILITIES, assign, connected


def test_a_job_runs_and_its_results_are_there(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_runs") as node:
        job_id = submitted(client, code="loss = 0.25")
        assign(gateway, job_id, "node_runs")
        work = node.assigned()
        assert (work.job_id, work.attempt, work.spec.code) == (job_id, 1, "loss = 0.25")
        node.run(work, "epoch 1\n", "epoch 2\n")
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "SUCCEEDED"
        results = client.get(f"/v1/jobs/{job_id}/results").json()
        assert [output["name"] for output in results["outcome"]["outputs"]] == ["loss", "notes/a"]
        assert client.get(f"/v1/jobs/{job_id}/outputs/loss").json() == 0.25
        assert client.get(f"/v1/jobs/{job_id}/outputs/notes/a").json() == [1, None]
        assert client.get(f"/v1/jobs/{job_id}/outputs/none").status_code == 404
        assert client.get(f"/v1/jobs/{job_id}/logs").text == "epoch 1\nepoch 2\n"


def test_reports_that_come_again_count_once(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_again") as node:
        job_id = submitted(client)
        assign(gateway, job_id, "node_again")
        work = node.assigned()
        for _ in range(3):
            node.report(work, 1, Started(at=1.0))
            node.report(work, 2, Log(at=1.0, stream="stdout", text="only once\n"))
            node.wait_for_ack(2)
        assert client.get(f"/v1/jobs/{job_id}/logs").text == "only once\n"


def test_what_a_node_holds_is_not_sent_again(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
        with connected(gateway, "node_holds") as node:
            assign(gateway, job_id, "node_holds")
            work = node.assigned()
        held = Held(job_id=job_id, lock_token=work.lock_token)
        with connected(gateway, "node_holds", held) as node:
            client.post(f"/v1/jobs/{job_id}:cancel")
            assert node.receive() == Cancel(job_id=job_id, lock_token=work.lock_token)


def test_a_node_is_not_replaced_by_who_has_another_key(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_owned") as node:
        with (
            pytest.raises(ConnectionClosed) as refused,
            connected(gateway, "node_owned", secret=SECRETS[Role.ADMIN]),
        ):
            raise AssertionError("it was welcomed")
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 1008
        assert "another API key" in refused.value.rcvd.reason
        job_id = submitted(client)
        assign(gateway, job_id, "node_owned")
        assert node.assigned().job_id == job_id


def test_an_assignment_that_was_lost_is_sent_again(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
        with connected(gateway, "node_lost"):
            assign(gateway, job_id, "node_lost")
        with connected(gateway, "node_lost") as node:
            assert node.assigned().job_id == job_id


def test_stale_attempts_are_dropped(gateway: Gateway) -> None:
    stale = Held(job_id="job_" + "0" * 26, lock_token="of another time")
    with connected(gateway, "node_stale", stale) as node:
        drop = Drop(job_id=stale.job_id, lock_token=stale.lock_token)
        assert node.receive() == drop
        node.send(Heartbeat(held=[stale]))
        assert node.receive() == drop


def test_a_report_with_another_token_changes_nothing(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_token") as node:
        job_id = submitted(client)
        assign(gateway, job_id, "node_token")
        work = node.assigned()
        forged = work.model_copy(update={"lock_token": "guessed"})
        node.report(forged, 1, Started(at=1.0))
        assert node.receive() == Drop(job_id=job_id, lock_token="guessed")
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "ASSIGNED"
        node.report(work, 1, Started(at=1.0))
        assert node.receive() == Ack(job_id=job_id, lock_token=work.lock_token, number=1)


def test_the_newest_connection_of_a_node_wins(gateway: Gateway) -> None:
    with (
        gateway.client() as client,
        connected(gateway, "node_twice") as older,
        connected(gateway, "node_twice") as newer,
    ):
        with pytest.raises(ConnectionClosed) as closed:
            older.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
        job_id = submitted(client)
        assign(gateway, job_id, "node_twice")
        assert newer.assigned().job_id == job_id


@pytest.mark.parametrize(
    "frame", ["{", "[]", '{"type": "hello"}', '{"type": "heartbeat", "held": []}', b"\xff\xfe"]
)
def test_who_does_not_say_hello_is_sent_away(gateway: Gateway, frame: str | bytes) -> None:
    url = gateway.url.replace("http", "ws", 1) + "/v1/nodes/connect"
    headers = {"Authorization": f"Bearer {SECRETS[Role.NODE]}"}
    with connect(url, additional_headers=headers) as socket:
        socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.CLIENT, 403)])
def test_only_nodes_connect(gateway: Gateway, role: Role | None, status: int) -> None:
    url = gateway.url.replace("http", "ws", 1) + "/v1/nodes/connect"
    headers = {"Authorization": f"Bearer {SECRETS[role]}"} if role else {}
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers=headers)
    assert refused.value.response.status_code == status
    assert refused.value.response.headers["content-type"] == "application/problem+json"


def test_the_nodes_are_listed(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_listed"):
        nodes = client.get("/v1/nodes").json()["items"]
    listed = next(node for node in nodes if node["id"] == "node_listed")
    assert listed["online"]
    assert listed["capabilities"]["packages"]["numpy"] == "2.1.0"


def test_what_a_node_offers_can_change_while_it_is_connected(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_offers") as node:
        more = replace(CAPABILITIES, environments=(Environment("tiny", "3.11.7", {"tiny": "1"}),))
        node.send(Offer(capabilities=more))
        stale = Held(job_id="job_" + "0" * 26, lock_token="of another time")
        node.send(Heartbeat(held=[stale]))
        assert isinstance(node.receive(), Drop)  # what was sent before is done
        (found,) = [
            each for each in client.get("/v1/nodes").json()["items"] if each["id"] == "node_offers"
        ]
        assert found["name"] == "node_offers"
        assert [each["name"] for each in found["capabilities"]["environments"]] == ["tiny"]
        assert found["online"]
