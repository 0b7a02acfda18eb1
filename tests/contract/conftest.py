"""A gateway without any node, shared by a module's tests."""

from collections.abc import Generator

import anyio
import pytest

from .gateway_process import Gateway, add_keys, start_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway, None, None]:
    """A gateway without any node, shared by a module's tests."""
    home = tmp_path_factory.mktemp("home")
    anyio.run(add_keys, home)
    running = start_gateway(home)
    yield running
    running.stop()
