"""A node's side of the WebSocket, and the scheduler's side of the store, for tests."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio
from websockets.sync.client import ClientConnection, connect

from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.store.protocol import JobStore, Role
from bcai.jobs.job import Job
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode
from bcai.jobs.states import Move
from bcai.wire.nodes import (
    TO_NODE,
    Assign,
    Finished,
    FromNode,
    Held,
    Hello,
    Log,
    Report,
    ReportBody,
    Started,
    ToNode,
    Welcome,
)

from .gateway_process import SECRETS, Gateway

LEASE_S = 3600.0
CAPABILITIES = Capabilities(
    cpu_count=4,
    memory_bytes=16 * 2**30,
    slots=4,
    python="3.11.7",
    packages={"torch": "2.13.0+cpu", "numpy": "2.1.0"},
    jail=JailReport("B"),
)
SUCCESS = Outcome(
    Move.SUCCEED,
    Reason(ReasonCode.SUCCEEDED, "the job succeeded"),
    outputs=(Output("loss", "value", value=0.25), Output("notes/a", "value", value=[1, None])),
)


class Node:
    """A connected node."""

    def __init__(self, socket: ClientConnection, node_id: str) -> None:
        self.socket = socket
        self.node_id = node_id

    def send(self, message: FromNode) -> None:
        self.socket.send(message.model_dump_json())

    def receive(self) -> ToNode:
        return TO_NODE.validate_json(self.socket.recv(timeout=60))

    def assigned(self) -> Assign:
        message = self.receive()
        assert isinstance(message, Assign), message
        return message

    def report(self, assign: Assign, number: int, body: ReportBody) -> None:
        self.send(
            Report(job_id=assign.job_id, lock_token=assign.lock_token, number=number, body=body)
        )

    def run(self, assign: Assign, *lines: str, outcome: Outcome = SUCCESS) -> None:
        """Report a whole attempt, and wait until all of it is durable."""
        self.report(assign, 1, Started(at=1.0))
        for number, line in enumerate(lines, start=2):
            self.report(assign, number, Log(at=1.0, stream="stdout", text=line))
        last = len(lines) + 2
        self.report(assign, last, Finished(at=2.0, outcome=outcome))
        self.wait_for_ack(last)

    def wait_for_ack(self, number: int) -> None:
        for _ in range(number):
            message = self.receive()
            assert message.type == "ack", message
            if message.number == number:
                return
        raise AssertionError(f"report {number} was not acknowledged")


@contextmanager
def connected(
    gateway: Gateway, node_id: str, *held: Held, secret: str = SECRETS[Role.NODE]
) -> Generator[Node, None, None]:
    """Connect a node and say hello."""
    url = gateway.url.replace("http", "ws", 1) + "/v1/nodes/connect"
    headers = {"Authorization": f"Bearer {secret}"}
    with connect(url, additional_headers=headers, max_size=None) as socket:
        node = Node(socket, node_id)
        node.send(Hello(node_id=node_id, name=node_id, capabilities=CAPABILITIES, held=list(held)))
        assert isinstance(node.receive(), Welcome)
        yield node


def assign(gateway: Gateway, job_id: str, node_id: str) -> Job:
    """Do what the scheduler does: give a job to a node."""

    async def run() -> Job:
        async with gateway.store() as store:
            return await give(store, job_id, node_id)

    return anyio.run(run)


async def give(store: JobStore, job_id: str, node_id: str) -> Job:
    nodes = await store.nodes(online_within_s=LEASE_S)
    node = next(node for node in nodes if node.id == node_id)
    return await store.assign(await store.get(job_id), node, lease_s=LEASE_S)
