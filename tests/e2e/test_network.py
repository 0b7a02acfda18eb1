"""The supervisor: one network per home, a port that stays, and an end when nobody needs it."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.e2e.network_process import WAIT_S, NetworkProcess, wait_until
from tests.e2e.watcher import run, submit, wait_final


def start_in_vain(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a network that cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "bcai.cluster.network", "--home", str(home), *options],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_a_home_has_one_network_and_the_second_says_why(network: NetworkProcess) -> None:
    ended = start_in_vain(network.home, "--port", "0")
    assert ended.returncode == 1
    assert str(network.pid_of("network")) in ended.stderr
    assert run(network, "1")["state"] == "SUCCEEDED"


def test_a_port_that_is_taken_is_named_with_its_owner(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = start_in_vain(tmp_path / "home", "--port", str(port))
    assert ended.returncode == 1
    assert f"port {port} is taken" in ended.stderr
    assert f"process {os.getpid()}" in ended.stderr
    assert "--port" in ended.stderr


def test_port_key_and_jobs_outlive_the_network(network: NetworkProcess) -> None:
    before = network.endpoint()
    job_id = submit(network, "print('first')")
    assert wait_final(network, job_id)["state"] == "SUCCEEDED"
    assert network.stop() == 0
    assert not (network.home / "network" / "endpoint.json").exists()
    network.start()
    after = network.endpoint()
    assert (before["url"], before["api_key"]) == (after["url"], after["api_key"])
    assert wait_final(network, job_id)["state"] == "SUCCEEDED"


def test_the_key_file_is_private(network: NetworkProcess) -> None:
    for name in ("endpoint.json", "network.json"):
        assert (network.home / "network" / name).stat().st_mode & 0o777 == 0o600


def test_two_nodes_share_the_work(tmp_path: Path) -> None:
    with NetworkProcess(tmp_path / "home", "--nodes", "2", BCAI_NODE__SLOTS="1") as network:
        code = "import time\ntime.sleep(1)"
        job_ids = [submit(network, code) for _ in range(2)]
        jobs = [wait_final(network, job_id) for job_id in job_ids]
        assert {job["state"] for job in jobs} == {"SUCCEEDED"}
        assert len({job["node_id"] for job in jobs}) == 2


def test_an_unused_network_stops_by_itself_and_not_before(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "network").mkdir(parents=True)
    with (home / "network" / "users.lock").open("w") as user:
        fcntl.flock(user, fcntl.LOCK_SH)
        with NetworkProcess(home, "--idle-s", "1") as network:
            job_id = submit(network, "import time\ntime.sleep(3)")
            fcntl.flock(user, fcntl.LOCK_UN)
            job = wait_final(network, job_id)
            assert job["state"] == "SUCCEEDED", "a network with work does not stop"
            wait_until(lambda: not network.leftovers(), "the unused network has stopped")


def test_what_a_killed_node_left_is_removed(network: NetworkProcess) -> None:
    work = network.home / "node" / "work"
    job_id = submit(network, "import time\ntime.sleep(2)")
    wait_until(lambda: any(work.iterdir()), "the job has its folder")
    left = {path.name for path in work.iterdir()}
    network.kill("node")
    assert wait_final(network, job_id)["state"] == "SUCCEEDED"
    wait_until(lambda: not left & {path.name for path in work.iterdir()}, "the folder is gone")
