"""A gateway that lies about whose job it is: a node trusts signatures, not what it is told."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace

import pytest
from tests.e2e.network_process import WAIT_S
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from bcai.jobs.outcome import Outcome, ReasonCode
from bcai.jobs.sign_spec import sign_spec
from bcai.jobs.signature import SignedBy
from bcai.jobs.spec import JobSpec, SecurityLevel
from bcai.jobs.states import Move
from bcai.proof.keys import SigningKey, key_id
from bcai.wire.nodes import FROM_NODE, Ack, Assign, Finished, Report, Welcome

USER, GATEWAY = (SigningKey.from_random(os.urandom(32)) for _ in range(2))
OWNER = "key_of_the_user"
TRUSTED = JobSpec(name="job", code="x = 1", security_level=SecurityLevel.TRUSTED)


class LyingGateway:
    """Gives a node whatever specs it likes, in whoever's name."""

    def __init__(self) -> None:
        self._server = serve(self._converse, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*self._server.socket.getsockname())
        self._orders = queue.Queue[JobSpec]()
        self._outcomes = queue.Queue[Outcome]()
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def order(self, spec: JobSpec) -> Outcome:
        """Assign a job in the user's name; return what the node says of its end."""
        self._orders.put(spec)
        return self._outcomes.get(timeout=WAIT_S)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _converse(self, socket: ServerConnection) -> None:
        hello = FROM_NODE.validate_json(socket.recv(timeout=WAIT_S))
        assert hello.type == "hello"
        socket.send(Welcome(heartbeat_s=60, lease_s=600).model_dump_json())
        try:
            for number in range(100):
                job_id = f"job_{number}"
                spec = self._orders.get(timeout=WAIT_S)
                assign = Assign(job_id=job_id, attempt=1, lock_token=job_id, spec=spec, owner=OWNER)
                socket.send(assign.model_dump_json())
                self._outcomes.put(_end_of(socket))
        except (ConnectionClosed, queue.Empty):
            return


def _end_of(socket: ServerConnection) -> Outcome:
    while True:
        message = FROM_NODE.validate_json(socket.recv(timeout=WAIT_S))
        if isinstance(message, Report):
            ack = Ack(job_id=message.job_id, lock_token=message.lock_token, number=message.number)
            socket.send(ack.model_dump_json())
            if isinstance(message.body, Finished):
                return message.body.outcome


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[LyingGateway, None, None]:
    """A node that trusts its user's key works for it."""
    folder = tmp_path_factory.mktemp("node")
    lying = LyingGateway()
    environment = {
        **os.environ,
        "BCAI_HOME": str(folder),
        "BCAI_CONFIG": str(folder / "none.toml"),
        "BCAI_ENDPOINT": lying.url,
        "BCAI_API_KEY": "bcai_any",
        "BCAI_NODE__TRUSTED_KEYS": json.dumps([key_id(USER.public)]),
        "BCAI_NODE__WARM_PYTHONS": "0",
    }
    with (folder / "log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "bcai.cluster.node"], env=environment, stderr=log
        )
    try:
        yield lying
    finally:
        node.terminate()
        node.wait(WAIT_S)
        lying.close()


def _signed(spec: JobSpec, key: SigningKey, by: SignedBy = SignedBy.CLIENT) -> JobSpec:
    return sign_spec(spec, key, nonce=os.urandom(16).hex(), now=time.time(), by=by)


def test_what_the_user_signed_is_trusted(gateway: LyingGateway) -> None:
    """The control: without it, the refusals below could have any reason."""
    outcome = gateway.order(_signed(TRUSTED, USER))
    assert outcome.move is Move.SUCCEED, outcome.reason
    assert outcome.jail is not None
    assert outcome.jail.asked == "trusted"


def test_what_the_gateway_signed_is_not_whoever_it_names(gateway: LyingGateway) -> None:
    for by in SignedBy:
        outcome = gateway.order(_signed(TRUSTED, GATEWAY, by))
        assert outcome.reason.code is ReasonCode.NOT_TRUSTED, outcome.reason
    assert "trusted_keys" in gateway.order(_signed(TRUSTED, GATEWAY)).reason.hint


def test_a_users_other_job_does_not_become_a_trusted_one(gateway: LyingGateway) -> None:
    plain = _signed(replace(TRUSTED, security_level=SecurityLevel.HIGH), USER)
    raised = replace(plain, security_level=SecurityLevel.TRUSTED)
    assert gateway.order(raised).reason.code is ReasonCode.SIGNATURE


def test_a_trusted_jobs_code_cannot_be_another(gateway: LyingGateway) -> None:
    signed = _signed(TRUSTED, USER)
    outcome = gateway.order(replace(signed, code="import os; os.system('id')"))
    assert outcome.reason.code is ReasonCode.SIGNATURE
    theirs = replace(_signed(TRUSTED, GATEWAY), signature=signed.signature, code="x = 2")
    assert gateway.order(theirs).reason.code is ReasonCode.SIGNATURE


def test_a_trusted_job_is_not_run_again_in_another_name(gateway: LyingGateway) -> None:
    signed = _signed(TRUSTED, USER)
    assert gateway.order(signed).move is Move.SUCCEED
    assert gateway.order(signed).reason.code is ReasonCode.SIGNATURE
