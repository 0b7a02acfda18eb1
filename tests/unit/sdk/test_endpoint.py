"""Where a client connects to."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bcai.base.errors import InputError
from bcai.sdk import endpoint as endpoint_module
from bcai.sdk import local, notices
from bcai.sdk.endpoint import is_loopback, is_of_documents, parse_endpoint, resolve_endpoint
from bcai.sdk.local import LocalNetwork

Started = list[int]
EMBEDDED = "http://127.0.0.1:41234"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, no settings of this machine, and nothing said yet."""
    for name in ("BCAI_ENDPOINT", "BCAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BCAI_HOME", str(tmp_path))
    monkeypatch.setenv("BCAI_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setattr(notices, "_seen", set[str]())
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Ports on which a network was asked for; none is really started."""
    ports: Started = []

    def ensure(_home: Path, port: int = 0) -> LocalNetwork:
        ports.append(port)
        url = f"http://127.0.0.1:{port}" if port else EMBEDDED
        return LocalNetwork(url, "bcai_embedded", 1)

    monkeypatch.setattr(endpoint_module, "ensure_local_network", ensure)
    return ports


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether something listens where the client looks."""

    def say(yes: bool) -> None:
        def is_free(_url: str) -> bool:
            return not yes

        monkeypatch.setattr(endpoint_module, "_is_free", is_free)

    return say


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://localhost:8080", "http://localhost:8080"),
        ("wss://bcai.example", "https://bcai.example"),
        (" http://127.0.0.1:8080/ ", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses_are_normalised(text: str, url: str) -> None:
    assert parse_endpoint(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", "ftp://host", "http://", "http://host:x", "http://host/v1", "http://u:p@host"),
        *("http://:p@host", "http://[::1", "http://[host]"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="endpoint: "):
        parse_endpoint(text)


@pytest.mark.parametrize("key", ["bcai_ключ", "bcai_a\n", "bcai a", "\u201cbcai_a\u201d"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(InputError, match="api_key: found") as caught:
        resolve_endpoint("https://gateway.example", key)
    assert key.strip() not in str(caught.value)


def test_which_hosts_are_whose() -> None:
    assert is_of_documents("https://api.bcai.network")
    assert is_of_documents("https://bcai.network")
    assert not is_of_documents("https://notbcai.network")
    assert not is_of_documents("https://bcai.network.example")
    assert is_loopback("http://127.0.0.9:1")
    assert is_loopback("http://[::1]:1")
    assert not is_loopback("http://localhost.example")


def test_with_nothing_set_it_is_the_network_on_this_machine(started: Started) -> None:
    found = resolve_endpoint(None, None)
    assert (found.url, found.api_key, started) == (EMBEDDED, "bcai_embedded", [0])
    assert found.users_lock is not None
    assert "bcai_embedded" not in repr(found)


def test_settings_come_before_it(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_ENDPOINT", "https://gateway.example")
    monkeypatch.setenv("BCAI_API_KEY", "bcai_mine")
    found = resolve_endpoint(None, None)
    assert (found.url, found.api_key, started) == ("https://gateway.example", "bcai_mine", [])
    assert found.socket_url == "wss://gateway.example/v1/ws"


def test_arguments_come_before_settings(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_ENDPOINT", "https://gateway.example")
    monkeypatch.setenv("BCAI_API_KEY", "bcai_mine")
    found = resolve_endpoint("http://other.example", "bcai_other")
    assert (found.url, found.api_key, started) == ("http://other.example", "bcai_other", [])


def test_an_address_of_the_documents_is_never_dialled(
    started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    found = resolve_endpoint("https://api.bcai.network", "your_api_key")
    assert (found.url, found.api_key, started) == (EMBEDDED, "bcai_embedded", [0])
    resolve_endpoint("https://api.bcai.network", "your_api_key")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "api.bcai.network" in said[0]
    assert EMBEDDED in said[0]


def test_an_address_of_the_documents_gives_way_to_the_configured_one(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCAI_ENDPOINT", "https://gateway.example")
    monkeypatch.setenv("BCAI_API_KEY", "bcai_mine")
    found = resolve_endpoint("https://api.bcai.network", "your_api_key")
    assert (found.url, found.api_key, started) == ("https://gateway.example", "bcai_mine", [])


def test_the_documents_address_in_the_settings_is_replaced_too(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCAI_ENDPOINT", "https://api.bcai.network")
    assert resolve_endpoint(None, None).url == EMBEDDED


@pytest.mark.parametrize("text", ["ws://localhost:8080", "http://localhost:8080"])
def test_the_documents_port_starts_a_network_there_if_it_is_free(
    started: Started, listening: Callable[[bool], None], text: str
) -> None:
    listening(False)
    found = resolve_endpoint(text, None)
    assert (found.url, found.api_key, started) == ("http://127.0.0.1:8080", "bcai_embedded", [8080])


@pytest.mark.parametrize("text", ["http://localhost:8081", "http://gateway.example:8080"])
def test_no_other_address_starts_one(
    started: Started, listening: Callable[[bool], None], text: str
) -> None:
    listening(False)
    assert resolve_endpoint(text, None).url == text
    assert started == []


def test_the_key_of_this_machines_network_is_used_at_its_address_alone(
    started: Started, home: Path
) -> None:
    (home / "network").mkdir()
    content = {"url": "http://127.0.0.1:9000", "api_key": "bcai_local", "pid": 1}
    (home / "network" / "endpoint.json").write_text(json.dumps(content))
    mine = resolve_endpoint("ws://localhost:9000", None)
    assert (mine.api_key, mine.users_lock is not None) == ("bcai_local", True)
    assert resolve_endpoint("ws://localhost:9000", "bcai_given").api_key == "bcai_given"
    assert resolve_endpoint("ws://localhost:9001", None).api_key is None
    assert resolve_endpoint("http://gateway.example:9000", None).api_key is None


def test_the_network_on_this_machine_is_opened_with_its_own_key(
    started: Started, listening: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(False)
    monkeypatch.setenv("BCAI_API_KEY", "bcai_of_another_network")
    assert resolve_endpoint(None, None).api_key == "bcai_embedded"
    assert resolve_endpoint("ws://localhost:8080", None).api_key == "bcai_embedded"
    assert resolve_endpoint(None, "bcai_given").api_key == "bcai_given"
    assert resolve_endpoint("ws://localhost:8080", "bcai_given").api_key == "bcai_given"
    assert resolve_endpoint("http://localhost:8081", None).api_key == "bcai_of_another_network"


def test_a_network_that_is_just_starting_is_waited_for(
    started: Started, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "network"
    folder.mkdir()
    content = {"url": "http://127.0.0.1:9000", "api_key": "bcai_before", "pid": 1}
    (folder / "endpoint.json").write_text(json.dumps(content))
    content.update(api_key="bcai_now", pid=2)
    rounds: list[float] = []

    def pause(delay_s: float) -> None:
        rounds.append(delay_s)
        if len(rounds) == 3:
            (folder / "endpoint.json").write_text(json.dumps(content))

    def running(_home: Path) -> int:
        return 2

    monkeypatch.setattr(local.time, "sleep", pause)
    monkeypatch.setattr(local, "running_network", running)
    assert resolve_endpoint("http://localhost:9000", None).api_key == "bcai_now"
    assert len(rounds) == 3
