"""What `bcai doctor` says of the network."""

import re
from pathlib import Path

import pytest

from bcai.cli import health
from bcai.cli.finding import Finding, Health
from bcai.sdk import local
from bcai.settings import NodeSettings, Settings


@pytest.fixture(autouse=True)
def no_jails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build none: it takes a second."""

    def examine_jail(_settings: Settings) -> list[Finding]:
        return []

    monkeypatch.setattr(health, "examine_jail", examine_jail)


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("ws://localhost:8080/", "http://localhost:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("https://news.example", "https://news.example"),
    ],
)
def test_the_network_is_asked_where_a_client_would_ask_it(
    endpoint: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(url: str) -> bool:
        return url == asked

    monkeypatch.setattr(local, "answers", answers)
    assert _network(Settings(endpoint=endpoint, home=tmp_path)) == (
        Health.OK,
        f"{asked.partition('//')[2]} answers",
    )


def test_what_is_no_address_is_a_finding(tmp_path: Path) -> None:
    kind, text = _network(Settings(endpoint="ftp://host", home=tmp_path))
    assert kind is Health.OPTIONAL
    assert text.startswith("endpoint: found 'ftp://host'; expected an address")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (NodeSettings(memory_mb=99_999_999), "95.4 TiB of memory for jobs; this machine has"),
        (NodeSettings(cpu_count=9_999), "9999 cores and .* for jobs; this machine has"),
    ],
)
def test_a_node_that_would_offer_more_than_there_is_is_a_finding(
    node: NodeSettings, says: str, tmp_path: Path
) -> None:
    offers = [
        next(each for each in health.examine(settings) if each.name == "offer")
        for settings in (Settings(home=tmp_path, node=node), Settings(home=tmp_path))
    ]
    assert [each.health for each in offers] == [Health.OPTIONAL, Health.OK]
    assert re.search(says, offers[0].found)


def _network(settings: Settings) -> tuple[Health, str]:
    found = next(each for each in health.examine(settings) if each.name == "network")
    return found.health, found.found
