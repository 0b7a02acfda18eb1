import json
from pathlib import Path

import pytest

from bcai.base.units import MIB
from bcai.cluster.network.child import describe_status, log_tail
from bcai.cluster.network.commands import node_commands, scheduler_command
from bcai.cluster.network.events import NetworkEvent, tell_people, tell_programs
from bcai.cluster.node.allowance import offered_memory_bytes
from bcai.settings import NodeSettings, Settings

KEYS = ("ed25519:" + "ab" * 32, "ed25519:" + "cd" * 32)


def test_nodes_have_their_own_folders_and_share_the_cores(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    commands = node_commands(settings, "http://127.0.0.1:1", "bcai_secret", 2)
    homes = {command.environment["BCAI_NODE__HOME"] for command in commands}
    names = {command.environment["BCAI_NODE__NAME"] for command in commands}
    assert len(homes) == len(names) == len({command.log for command in commands}) == 2
    assert all(int(command.environment["BCAI_NODE__SLOTS"]) >= 1 for command in commands)
    memory = [int(command.environment["BCAI_NODE__MEMORY_MB"]) for command in commands]
    assert sum(memory) * MIB <= offered_memory_bytes(settings.node)
    assert all(command.environment["BCAI_NODE__LOG"] == str(command.log) for command in commands)


def test_what_the_owner_set_reaches_the_node(tmp_path: Path) -> None:
    node = NodeSettings(slots=7, memory_mb=512, cpu_count=3, name="attic", trusted_keys=KEYS)
    settings = Settings(home=tmp_path, node=node)
    (command,) = node_commands(settings, "http://127.0.0.1:1", "bcai_secret", 1)
    assert command.environment["BCAI_NODE__SLOTS"] == "7"
    assert command.environment["BCAI_NODE__MEMORY_MB"] == "512"
    assert command.environment["BCAI_NODE__CPU_COUNT"] == "3"
    assert command.environment["BCAI_NODE__NAME"] == "attic"
    assert json.loads(command.environment["BCAI_NODE__TRUSTED_KEYS"]) == list(KEYS)


def test_only_nodes_get_the_nodes_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_API_KEY", "bcai_of_the_user")
    settings = Settings(home=tmp_path)
    assert "BCAI_API_KEY" not in scheduler_command(settings).environment
    (node,) = node_commands(settings, "http://127.0.0.1:1", "bcai_of_the_node", 1)
    assert node.environment["BCAI_API_KEY"] == "bcai_of_the_node"


def test_a_gateway_knows_how_many_nodes_there_will_be(tmp_path: Path) -> None:
    known = scheduler_command(Settings(home=tmp_path, nodes_max=1)).environment
    assert known["BCAI_NODES_MAX"] == "1"
    assert "BCAI_NODES_MAX" not in scheduler_command(Settings(home=tmp_path)).environment


def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    assert scheduler_command(Settings(home=tmp_path)).environment["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize(
    ("status", "text"), [(1, "ended with status 1"), (-9, "was killed by SIGKILL")]
)
def test_an_ending_in_words(status: int, text: str) -> None:
    assert describe_status(status) == text


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    assert log_tail(log) == ""
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert log_tail(log, lines=2) == "line 98\nline 99"


def test_events_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    ready = NetworkEvent("ready", "it is up", {"url": "http://127.0.0.1:1"})
    tell_people(ready)
    tell_programs(ready)
    tell_people(NetworkEvent("restarted", "the node died"))
    captured = capsys.readouterr()
    people, programs = captured.out.splitlines()
    assert people == "it is up"
    assert '"event": "ready"' in programs
    assert '"url": "http://127.0.0.1:1"' in programs
    assert captured.err == "the node died\n"
