"""With no endpoint set, a network starts on this machine, and stops when it is not used."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from bcai.base.errors import DependencyError
from bcai.sdk.local import (
    UsersLock,
    ensure_local_network,
    find_local_network,
    running_network,
    stop_local_network,
)

WAIT_S = 200.0  # a slow, busy machine; nothing here is about speed
SCRIPT = """
from bcai import SDK
client = SDK({arguments})
print(client.create_job("loss = 0.5").execute().outputs["loss"])
"""

REPLICATED = """
from bcai import SDK
from bcai.base.errors import RefusedError
try:
    SDK().create_job("loss = 0.5", verify="replicated:2").submit()
except RefusedError as error:
    print(error, error.hint)
"""


@pytest.fixture
def home(tmp_path: Path) -> Generator[Path, None, None]:
    """A home without a network; whatever a test starts in it is stopped."""
    folder = tmp_path / "home"
    yield folder
    stop_local_network(folder)
    assert running_network(folder) is None


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"BCAI_ENDPOINT", "BCAI_API_KEY"}
    }
    return {**kept, "BCAI_HOME": str(home), "BCAI_CONFIG": str(home / "none.toml")}


def start(home: Path, script: str, folder: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(home),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, script: str, folder: Path | None = None) -> tuple[str, str]:
    """Run a script as a user does; return what it wrote to stdout and stderr."""
    process = start(home, script, folder)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    return out, err


def test_the_first_script_starts_it_and_the_second_uses_it(home: Path) -> None:
    out, err = run(home, SCRIPT.format(arguments=""))
    network = find_local_network(home)
    assert network is not None
    assert out == "0.5\n"
    assert err == (
        f"bcai: started a network on this machine ({network.url}; it stops when unused for 60 s)\n"
    )
    assert run(home, SCRIPT.format(arguments="")) == ("0.5\n", "")
    assert find_local_network(home) == network
    out, _ = run(home, REPLICATED)
    assert "needs 2 nodes of one fingerprint, and this network has 1 and never more" in out
    assert "'bcai up --nodes 2' runs one with 2 on this machine" in out


def test_an_address_of_the_documents_is_replaced_aloud(home: Path) -> None:
    arguments = "'https://api.bcai.network', api_key='your_api_key'"
    out, err = run(home, SCRIPT.format(arguments=arguments))
    assert out == "0.5\n"
    assert [line.split()[1] for line in err.splitlines()] == ["started", "api.bcai.network"]


def test_many_first_clients_start_one_network(home: Path) -> None:
    processes = [start(home, SCRIPT.format(arguments="")) for _ in range(3)]
    ends = [process.communicate(timeout=WAIT_S) for process in processes]
    assert [out for out, _ in ends] == ["0.5\n"] * 3
    assert sum("started a network" in err for _, err in ends) == 1


def test_what_lies_in_the_working_folder_does_no_harm(home: Path, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('imported by the network')")
    out, _ = run(home, SCRIPT.format(arguments=""), tmp_path)
    assert out == "0.5\n"


def test_an_explicit_free_port_of_the_documents_gets_a_network(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    script = (
        "from bcai.sdk import endpoint\n"
        f"endpoint.DEFAULT_PORT = {port}\n"  # 8080 itself may be taken on this machine
        "from bcai_sdk import BCaiClient, TrainingJob\n"
        f"client = BCaiClient('ws://localhost:{port}')\n"
        "job = TrainingJob(name='job', code='loss = 0.5')\n"
        "print(client.submit_job(job).training_metrics['loss'])\n"
    )
    out, err = run(home, script)
    assert out == "0.5\n"
    assert f"started a network on this machine (http://127.0.0.1:{port};" in err


def test_another_address_where_nobody_listens_is_an_error(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = start(home, SCRIPT.format(arguments=f"'http://localhost:{port}'"))
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert f"nobody answers at http://localhost:{port}" in err
    assert "bcai up" in err
    assert running_network(home) is None


def test_it_stays_while_a_client_lives(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcai.sdk.local.IDLE_S", 1)
    users_lock = UsersLock(home)
    network = ensure_local_network(home)
    assert network.started
    time.sleep(4)
    assert find_local_network(home) is not None
    users_lock.release()
    until = time.monotonic() + WAIT_S
    while running_network(home) is not None:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert not (home / "network" / "endpoint.json").exists()


def test_a_start_that_fails_shows_the_end_of_the_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCAI_ENHANCED_VM__MAX_MEMORY_MB", "many")
    with pytest.raises(DependencyError, match="max_memory_mb: found 'many'"):
        ensure_local_network(home)


def test_stopping_what_does_not_run_is_no_error(home: Path) -> None:
    assert stop_local_network(home) is False
    (home / "network").mkdir(parents=True)
    (home / "network" / "network.lock").write_text("1\n")  # another program's by now
    assert stop_local_network(home) is False


def test_ctrl_c_ends_a_waiting_script_and_not_the_job(home: Path) -> None:
    script = (
        "from bcai import SDK\n"
        "job = SDK().create_job('while True: pass', name='goes-on').submit()\n"
        "print(job.id, flush=True)\n"
        "job.wait()\n"
    )
    process = start(home, script)
    assert process.stdout is not None
    job_id = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert "KeyboardInterrupt" in err
    ask = f"from bcai import SDK\njob = SDK().job('{job_id}')\nprint(job.status)\njob.cancel()\n"
    out, _ = run(home, ask)
    assert out.strip() in {"QUEUED", "ASSIGNED", "RUNNING"}
