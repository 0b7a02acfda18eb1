"""The network on this machine: find it, start it when it is not there, stop it.

The network is a child process in a session of its own (`python -m bcai.cluster.network`). It
writes `network/endpoint.json` in the home folder once it answers, and stops itself when nobody
has held `network/users.lock` for a while. Locks are `flock`s: none survives its process.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from bcai.base.errors import DependencyError, InputError, UnreachableError
from bcai.sdk.notices import say_of_network

IDLE_S = 60  # how long an embedded network outlives its last user
_START_S_MAX = 120.0  # three Python processes on a slow, busy machine; beyond that it hangs
_LOCK_S_MAX = 150.0  # another client may be starting the network meanwhile
_STOP_S_MAX = 60.0  # its node lets jobs go on for a moment
_PROBE_S_MAX = 5.0
_POLL_S = 0.05
_LOG_TAIL_LINES = 20

_children: dict[int, subprocess.Popen[bytes]] = {}  # kept, so that each is reaped once it ends


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A network on this machine that answers."""

    url: str
    api_key: str
    pid: int
    started: bool = False  # by this call


class UsersLock:
    """Says to the network on this machine that somebody uses it, while this object lives."""

    def __init__(self, home: Path) -> None:
        folder = _network_folder(home)
        descriptor = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._close = weakref.finalize(self, os.close, descriptor)
        _lock(descriptor, fcntl.LOCK_SH, "users.lock")

    def release(self) -> None:
        """Stop using the network. Idempotent."""
        self._close()


def find_local_network(home: Path) -> LocalNetwork | None:
    """Return the network of this home folder if it answers."""
    network = read_endpoint_file(home)
    return network if network is not None and answers(network.url) else None


def ensure_local_network(home: Path, port: int = 0) -> LocalNetwork:
    """Return this home folder's network, and start it first if it does not answer.

    Hold a `UsersLock` before, so that it does not stop for want of users meanwhile.

    Raises
    ------
    DependencyError
        It does not start; the message shows the end of its log.
    UnreachableError
        It runs and does not answer, or takes too long to start.
    """
    network = find_local_network(home)
    if network is not None:
        return network
    with _start_lock(home):
        return _wait_for_running(home) or start_local_network(home, port)


def start_local_network(home: Path, port: int = 0) -> LocalNetwork:
    """Start a network in the background, wait until it answers, and say so.

    `ensure_local_network` is what most callers want: it takes the lock that keeps two clients
    from starting two.
    """
    options = ["--home", str(home), "--port", str(port), "--idle-s", str(IDLE_S)]
    log = _network_folder(home) / "logs" / "network.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        begin = stream.tell()
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "bcai.cluster.network", *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env=_environment(),
        )
    _children[process.pid] = process
    network = _wait_until_up(home, process)
    if network is None:
        is_slow = process.poll() is None
        tail = _tail(log, begin)
        _stop(process)
        if is_slow:
            raise UnreachableError(
                f"the network on this machine was stopped: it did not answer within "
                f"{_START_S_MAX:.0f} s; the end of {log}:\n{tail}",
                hint="this machine may be busy with other work: try again when it is less so",
            )
        raise DependencyError(
            f"the network on this machine did not start; the end of {log}:\n{tail}",
            hint="`bcai doctor` says what this machine lacks",
        )
    say_of_network(
        f"started a network on this machine ({network.url}; it stops when unused for {IDLE_S} s)"
    )
    return network


def stop_local_network(home: Path) -> bool:
    """Stop this home folder's network; return whether one was running.

    It stops in order: its node hands back what it works on.
    """
    pid = running_network(home)
    if pid is None:
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, sign)
            if select.select([descriptor], [], [], _STOP_S_MAX)[0]:
                break
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
    child = _children.pop(pid, None)
    if child is not None:
        child.wait(_STOP_S_MAX)
    return True


def running_network(home: Path) -> int | None:
    """Return the process id of this home folder's network, which may be starting or stopping."""
    try:
        pid = int((home / "network" / "network.lock").read_text("ascii"))
        is_network = b"bcai" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if is_network else None  # else the number was given to another program since


def read_endpoint_file(home: Path) -> LocalNetwork | None:
    """Return what this home folder's network wrote about itself; it may be gone since."""
    try:
        content = json.loads((home / "network" / "endpoint.json").read_text("utf-8"))
        return LocalNetwork(str(content["url"]), str(content["api_key"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def wait_for_endpoint_file(home: Path) -> LocalNetwork | None:
    """Return what this home folder's network wrote about itself; one that starts is waited for."""
    until = time.monotonic() + _START_S_MAX
    while True:
        network = read_endpoint_file(home)
        pid = running_network(home)
        if pid is None or (network is not None and network.pid == pid):
            return network
        if time.monotonic() > until:
            return None
        time.sleep(_POLL_S)


def answers(url: str) -> bool:
    """Whether a gateway is well at this address."""
    try:
        answer = httpx.get(f"{url}/v1/health", timeout=_PROBE_S_MAX, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == HTTPStatus.OK


def _network_folder(home: Path) -> Path:
    folder = home / "network"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the network's folder {str(folder)!r}: {error.strerror}",
            hint="set BCAI_HOME to a folder that you may write",
        ) from error
    return folder


def _wait_for_running(home: Path) -> LocalNetwork | None:
    """Return the network once it answers, None as soon as there is none.

    One that was just started, or restarts a part of itself, is on its way up; one that was told
    to stop is on its way down.
    """
    until = time.monotonic() + _START_S_MAX
    while True:
        network = find_local_network(home)
        pid = running_network(home)
        if network is not None or pid is None:
            return network
        if time.monotonic() > until:
            raise UnreachableError(
                f"the network on this machine (process {pid}) does not answer",
                hint="`bcai down` stops it; the next client starts another",
            )
        time.sleep(_POLL_S)


@contextmanager
def _start_lock(home: Path) -> Generator[None]:
    path = _network_folder(home) / "start.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, fcntl.LOCK_EX, "start.lock")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, name: str) -> None:
    until = time.monotonic() + _LOCK_S_MAX
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise UnreachableError(
                    f"somebody has held {name} of the network on this machine for too long",
                    hint="`bcai down` stops that network",
                ) from None
            time.sleep(_POLL_S)
        else:
            return


def _environment() -> dict[str, str]:
    """Our environment, without what says where a client connects to.

    The safe path keeps the caller's working folder, which may hold a `random.py`, out of the
    network's imports.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"BCAI_ENDPOINT", "BCAI_API_KEY"}
    }
    return {**kept, "PYTHONSAFEPATH": "1"}


def _wait_until_up(home: Path, process: subprocess.Popen[bytes]) -> LocalNetwork | None:
    until = time.monotonic() + _START_S_MAX
    while process.poll() is None and time.monotonic() < until:
        network = read_endpoint_file(home)
        if network is not None and network.pid == process.pid and answers(network.url):
            return LocalNetwork(network.url, network.api_key, network.pid, started=True)
        time.sleep(_POLL_S)
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _children.pop(process.pid, None)


def _tail(log: Path, begin: int) -> str:
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(it wrote nothing)"
