"""Fixtures of the SDK's tests: a client's transport that talks to a gateway in memory."""

from collections.abc import Callable

import httpx
import pytest

from bcai.sdk.endpoint import Endpoint
from bcai.sdk.transport import Transport

from .fake_gateway import FakeGateway


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def waits() -> list[float]:
    """How long the transport waited between tries."""
    return []


@pytest.fixture
def make_transport(gateway: FakeGateway, waits: list[float]) -> Callable[..., Transport]:
    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)

    def make(*, auto_retry: bool = True) -> Transport:
        return Transport(
            None,
            None,
            auto_retry,
            30.0,
            find=lambda _endpoint, _api_key: Endpoint("http://gateway.test", "bcai_secret"),
            wire=httpx.MockTransport(gateway.answer),
            sleep=sleep,
        )

    return make


@pytest.fixture
def transport(make_transport: Callable[..., Transport]) -> Transport:
    return make_transport()
