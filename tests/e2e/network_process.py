"""A network in its own process, and what tests do to it: kill parts, look for leftovers."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

WAIT_S = 120.0  # a slow, busy machine; nothing here is about speed
_MODULES = {name: f"bcai.cluster.{name}" for name in ("gateway", "scheduler", "node", "network")}


class NetworkProcess:
    """Starts `python -m bcai.cluster.network`; every process of it carries a mark."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        self.home = home
        self._options = options
        self._mark = f"BCAI_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self._environment = {
            **os.environ,
            "BCAI_LEASE_S": "2",
            "BCAI_HEARTBEAT_S": "0.5",
            "BCAI_CONFIG": str(home / "no-such.toml"),
            **environment,
            name: value,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[tuple[int, str]] = set()  # every process that was ever below ours

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status = self.stop()
        left = self.leftovers()
        assert not left, f"processes were left behind: {left}"
        if error is None:
            assert status == 0, f"the network ended with status {status}:\n{self.output()}"

    def start(self) -> None:
        """Start it and wait until it answers; a second start uses the same home and port."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "bcai.cluster.network",
                    "--home", str(self.home), "--port", "0", *self._options,
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )  # fmt: skip

        def is_up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended at once:\n{self.output()}"
            return self.endpoint().get("pid") == self._process.pid

        wait_until(is_up, "the network is up")

    def endpoint(self) -> dict[str, Any]:
        """What the network says of itself; empty while it is not up."""
        try:
            return json.loads((self.home / "network" / "endpoint.json").read_text())
        except FileNotFoundError:
            return {}

    def client(self) -> httpx.Client:
        """A client with the network's own key."""
        endpoint = self.endpoint()
        return httpx.Client(
            base_url=endpoint["url"],
            headers={"Authorization": f"Bearer {endpoint['api_key']}"},
            timeout=WAIT_S,
            trust_env=False,
        )

    def output(self) -> str:
        """What it printed, and the logs of its parts."""
        logs = sorted((self.home / "network" / "logs").glob("*.log"))
        files = [self.home / "output.txt", *logs]
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')}" for file in files)

    def pid_of(self, name: str) -> int:
        """Process id of `gateway`, `scheduler`, `node` or `network`."""
        assert self._process is not None
        if name == "network":
            return self._process.pid
        found: list[int] = []

        def is_there() -> bool:
            assert self._process is not None
            found[:] = [
                pid
                for pid in _children(self._process.pid)
                if _MODULES[name].encode() in _arguments(pid)
            ]
            return bool(found)

        wait_until(is_there, f"the {name} is there")
        return found[0]

    def pid_of_node(self, name: str) -> int:
        """Process id of the node that has this name on the network, of several."""
        assert self._process is not None
        for pid in _children(self._process.pid):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"BCAI_NODE__NAME={name}".encode() in environment:
                return pid
        raise AssertionError(f"node {name} is not there")

    def kill(self, name: str) -> None:
        """SIGKILL one part. It starts again by itself; the whole network starts again here."""
        self.note_processes()
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        if name == "network":
            assert self._process is not None
            self._process.wait(WAIT_S)
            wait_until(lambda: not self.leftovers(), "all parts died with the network")
            self.start()

    def stop(self) -> int:
        """Stop it as Ctrl-C would; return its exit status."""
        assert self._process is not None
        self.note_processes()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    def note_processes(self) -> None:
        """Remember all that runs below the network now, jailed or not."""
        assert self._process is not None
        pending = [self._process.pid]
        while pending:
            pid = pending.pop()
            self._seen.add((pid, _started(pid)))
            pending += _children(pid)

    def leftovers(self) -> list[str]:
        """Processes of this network that still run: seen below it, or carrying its mark."""
        alive = {pid for pid, started in self._seen if started and _started(pid) == started}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    alive.add(int(folder.name))
            except OSError:
                continue
        return [f"{pid}: {_arguments(pid)!r}" for pid in sorted(alive)]


def make_ours(network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let this process know the network, as its owner, and no other; its address."""
    for name in ("BCAI_ENDPOINT", "BCAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BCAI_HOME", str(network.home))
    monkeypatch.setenv("BCAI_CONFIG", str(network.home / "no-such.toml"))
    return str(network.endpoint()["url"])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until something is so."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, f"waited {WAIT_S:.0f} s in vain until {what}"
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _started(pid: int) -> str:
    """When a process started, as the kernel counts; empty once it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
