"""Real networks for tests: started like a user's, on a free port, in a folder of their own."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.network_process import NetworkProcess, make_ours

from bcai import SDK
from bcai.bridge.sandbox.probe import probe_jail


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


@pytest.fixture
def client(
    shared_network: NetworkProcess, monkeypatch: pytest.MonkeyPatch
) -> Generator[SDK, None, None]:
    """A client of the file's network, whose owner it is; a file may have its own network."""
    with SDK(make_ours(shared_network, monkeypatch)) as opened:
        yield opened


@pytest.fixture
def jail_of_namespaces() -> None:
    """For tests of what a jail of level C or none does not do."""
    if probe_jail().level not in ("A", "B"):
        pytest.skip("no jail of level A or B on this machine")
