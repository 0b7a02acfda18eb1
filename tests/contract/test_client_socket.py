"""The client's WebSocket: submit, follow, cancel."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bcai.cluster.store.protocol import Role
from bcai.jobs.job import EventKind
from bcai.jobs.states import JobState
from bcai.wire.clients import (
    TO_CLIENT,
    CancelJob,
    Failed,
    Follow,
    FromClient,
    Submit,
    Submitted,
    ToClient,
    Update,
)
from bcai.wire.submission import JobSubmission

from .gateway_process import OTHER_CLIENT, SECRETS, Gateway, submitted
from .node_side import assign, connected


@contextmanager
def dialled(
    gateway: Gateway, path: str = "/v1/ws", secret: str = SECRETS[Role.CLIENT]
) -> Generator[ClientConnection, None, None]:
    url = gateway.url.replace("http", "ws", 1) + path
    headers = {"Authorization": f"Bearer {secret}"}
    with connect(url, additional_headers=headers, max_size=None) as socket:
        yield socket


def ask(socket: ClientConnection, message: FromClient) -> ToClient:
    socket.send(message.model_dump_json())
    return TO_CLIENT.validate_json(socket.recv(timeout=60))


@pytest.mark.parametrize("path", ["/v1/ws", "/"])
def test_submit_run_and_follow_over_one_socket(gateway: Gateway, path: str) -> None:
    node_id = f"node_of_{len(path)}"
    with dialled(gateway, path) as socket, connected(gateway, node_id) as node:
        answer = ask(socket, Submit(id="1", job=JobSubmission(code="print(1)")))
        assert isinstance(answer, Submitted)
        assert answer.id == "1"
        socket.send(Follow(id="2", job_id=answer.job.id).model_dump_json())
        assign(gateway, answer.job.id, node_id)
        node.run(node.assigned(), "one\n", "two\n")
        text, sequences = "", list[int]()
        while True:
            update = TO_CLIENT.validate_json(socket.recv(timeout=60))
            assert isinstance(update, Update)
            sequences += [event.sequence for event in update.events]
            text += "".join(
                str(event.body["text"]) for event in update.events if event.kind is EventKind.LOG
            )
            if update.job is not None:
                break
    assert text == "one\ntwo\n"
    assert sequences == list(range(1, len(sequences) + 1))
    assert update.job.state is JobState.SUCCEEDED


def test_the_end_of_an_ended_job_comes_at_once(gateway: Gateway) -> None:
    with gateway.client() as client, dialled(gateway) as socket:
        job_id = submitted(client)
        client.post(f"/v1/jobs/{job_id}:cancel")
        update = ask(socket, Follow(id="f", job_id=job_id, after=2**50))
    assert isinstance(update, Update)
    assert update.events == []
    assert update.job is not None
    assert update.job.state is JobState.CANCELLED


def test_cancel_over_the_socket(gateway: Gateway) -> None:
    with gateway.client() as client, dialled(gateway) as socket:
        answer = ask(socket, CancelJob(id="c", job_id=submitted(client)))
    assert isinstance(answer, Submitted)
    assert answer.job.state is JobState.CANCELLED


def test_an_error_ends_only_its_request(gateway: Gateway) -> None:
    with gateway.client() as client, dialled(gateway, secret=OTHER_CLIENT) as socket:
        others = submitted(client)
        for message in (Follow(id="x", job_id=others), CancelJob(id="x", job_id="\0")):
            answer = ask(socket, message)
            assert isinstance(answer, Failed)
            assert (answer.id, answer.problem.code) == ("x", "input.not_found")
        for frame in ("{", '{"type": "dance"}', b"\xff", '{"type": "follow", "id": "1"}'):
            socket.send(frame)
            unreadable = TO_CLIENT.validate_json(socket.recv(timeout=60))
            assert isinstance(unreadable, Failed)
            assert unreadable.problem.code == "input.format"
        answer = ask(socket, Submit(id="ok", job=JobSubmission(code="x")))
        assert isinstance(answer, Submitted)


def test_an_idempotency_key_works_here_too(gateway: Gateway) -> None:
    with dialled(gateway) as socket:
        message = Submit(id="1", job=JobSubmission(code="x"), idempotency_key="socket")
        first, again = ask(socket, message), ask(socket, message)
    assert isinstance(first, Submitted)
    assert first == again


def test_a_flood_of_requests_is_held_back(gateway: Gateway) -> None:
    with gateway.client() as client, dialled(gateway) as socket:
        job_id = submitted(client)
        for number in range(100):
            socket.send(Follow(id=str(number), job_id=job_id).model_dump_json())
        refused = 0
        while refused < 100 - 64:
            answer = TO_CLIENT.validate_json(socket.recv(timeout=60))
            if isinstance(answer, Failed):
                assert answer.problem.code == "resource.busy"
                refused += 1


@pytest.mark.parametrize("path", ["/v1/ws", "/"])
def test_without_a_key_nobody_gets_in(gateway: Gateway, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(gateway.url.replace("http", "ws", 1) + path)
    assert refused.value.response.status_code == 401
