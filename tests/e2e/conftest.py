"""Real networks for tests: started like a user's, on a free port, in a folder of their own."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.network_process import NetworkProcess


@pytest.fixture
def network(tmp_path: Path) -> Generator[NetworkProcess, None, None]:
    """A network for one test; short leases, so that a lost node is noticed soon."""
    with NetworkProcess(tmp_path / "home") as running:
        yield running


@pytest.fixture(scope="module")
def shared_network(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[NetworkProcess, None, None]:
    """One network for all tests of a file."""
    with NetworkProcess(tmp_path_factory.mktemp("network") / "home") as running:
        yield running
