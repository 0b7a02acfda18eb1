"""Requests: authorised, tried again where that helps, and errors that are our own."""

from collections.abc import Callable

import httpx
import pytest

from bcai.base.errors import (
    AuthError,
    BusyError,
    ConflictError,
    DependencyError,
    InputError,
    NotFoundError,
    UnreachableError,
)
from bcai.jobs.states import JobState
from bcai.sdk.retry import FIRST_CONTACT_TRIES_MAX, TRIES_MAX
from bcai.sdk.transport import Transport, job_path
from bcai.wire.jobs import JobView

from .fake_gateway import FakeGateway, job_view, json_answer, problem

pytestmark = pytest.mark.anyio


async def test_it_sends_the_key(transport: Transport, gateway: FakeGateway) -> None:
    gateway.views["job_1"] = job_view(JobState.RUNNING)
    view = await transport.get(job_path("job_1"), JobView)
    assert view.state is JobState.RUNNING
    assert gateway.requests[0].headers["Authorization"] == "Bearer bcai_secret"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(502),
        httpx.Response(429),
        problem(BusyError("the queue is full")),
    ],
)
async def test_a_passing_fault_is_tried_again(
    transport: Transport, gateway: FakeGateway, failure: httpx.Response | Exception
) -> None:
    gateway.views["job_1"] = job_view()
    gateway.failures = [failure, failure]
    await transport.get(job_path("job_1"), JobView)
    assert len(gateway.requests) == 3


async def test_the_gateways_wish_to_wait_is_kept(
    transport: Transport, gateway: FakeGateway, waits: list[float]
) -> None:
    gateway.views["job_1"] = job_view()
    gateway.failures = [httpx.Response(503, headers={"Retry-After": "7"})]
    await transport.get(job_path("job_1"), JobView)
    assert waits[0] > 7


async def test_without_auto_retry_the_first_fault_is_raised(
    make_transport: Callable[..., Transport], gateway: FakeGateway
) -> None:
    gateway.failures = [httpx.ConnectError("refused")]
    with pytest.raises(UnreachableError):
        await make_transport(auto_retry=False).request("GET", "/v1/nodes")
    assert len(gateway.requests) == 1


async def test_nobody_there_is_said_soon_with_what_to_do(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.failures = [httpx.ConnectError("refused")] * 100
    with pytest.raises(UnreachableError, match=r"gateway\.test.*refused") as caught:
        await transport.request("GET", "/v1/nodes")
    assert "bcai up" in caught.value.hint
    assert len(gateway.requests) == FIRST_CONTACT_TRIES_MAX


async def test_an_outage_is_waited_out_longer(transport: Transport, gateway: FakeGateway) -> None:
    gateway.views["job_1"] = job_view()
    await transport.get(job_path("job_1"), JobView)
    gateway.requests.clear()
    gateway.failures = [httpx.ConnectError("refused")] * 100
    with pytest.raises(UnreachableError):
        await transport.get(job_path("job_1"), JobView)
    assert len(gateway.requests) == TRIES_MAX


async def test_what_the_gateway_raised_is_raised_here(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.failures = [problem(ConflictError("other content", hint="use another key"))]
    with pytest.raises(ConflictError, match="other content") as caught:
        await transport.request("GET", "/v1/nodes")
    assert caught.value.hint == "use another key"
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthError), (404, NotFoundError), (500, DependencyError)]
)
async def test_a_strangers_answer_is_described(
    transport: Transport, gateway: FakeGateway, status: int, error: type[Exception]
) -> None:
    gateway.failures = [httpx.Response(status, content="<html>")]
    with pytest.raises(error, match=str(status)):
        await transport.request("GET", "/v1/nodes")


async def test_an_answer_of_another_shape_is_a_dependency_error(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.failures = [json_answer('{"id": 3}')]
    with pytest.raises(DependencyError, match="JobView"):
        await transport.get(job_path("job_1"), JobView)


def test_an_endpoint_that_cannot_be_one_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match="ftp://example"):
        Transport("ftp://example", None, True, 30.0)


def test_an_id_cannot_lead_elsewhere() -> None:
    assert job_path("../keys?x=1", ":cancel") == "/v1/jobs/..%2Fkeys%3Fx%3D1:cancel"
