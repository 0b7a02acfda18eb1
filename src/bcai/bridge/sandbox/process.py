"""Starts the program that builds a jail, as a fresh process: never a fork of this one's threads."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from types import TracebackType

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.cgroup import Cgroup
from bcai.bridge.sandbox.environment import (
    environment_variables,
    package_folder,
    python_folders,
    system_paths,
)

_END_WAIT_S = 30.0
_KILL_WAIT_S = 5.0


@dataclass(slots=True)
class JailProcess:
    """A jail that runs, and our ends of its pipes. Leaving the `with` block ends it for sure."""

    process: subprocess.Popen[bytes]
    stdout: int
    stderr: int
    status: int
    control: socket.socket
    outputs: int
    cgroup: Cgroup | None
    _open: bool = field(default=True, init=False)

    def __enter__(self) -> "JailProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        for descriptor in (self.stdout, self.stderr, self.status, self.outputs):
            os.close(descriptor)
        self.control.close()
        if self.cgroup is not None:
            self.cgroup.remove()

    def let_go(self) -> None:
        """Close the leash: the jail is killed, with all that runs in it. Returns at once."""
        if self._open and self.process.stdin is not None:
            self._open = False
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def end(self) -> None:
        """Kill the jail and wait until nothing of it is left."""
        self.let_go()
        try:
            self.process.wait(_END_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # pid 1 of the jail dies with it
            self.process.wait(_KILL_WAIT_S)


def start_jail(
    plan: dict[str, object], *, processes: int, outputs: int, cgroup: Cgroup | None
) -> JailProcess:
    """Start a jail after `plan`; it takes over `outputs` and `cgroup`.

    Raises
    ------
    NoJailError
        The program could not be started at all.
    """
    ours: list[int] = []
    theirs: list[int] = []
    for _ in range(3):
        read, write = os.pipe()
        ours.append(read)
        theirs.append(write)
    control, guest_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    names = ("stdout", "stderr", "status", "control", "outputs")
    numbers = (*theirs, guest_control.fileno(), outputs)
    script = package_folder() / "bridge" / "sandbox" / "build_jail.py"
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=theirs[1],
            pass_fds=numbers,
            env=environment_variables(processes),
            cwd="/",
        )
    except OSError as error:
        for descriptor in (*ours, outputs):
            os.close(descriptor)
        control.close()
        if cgroup is not None:
            cgroup.remove()
        raise NoJailError(f"cannot start {sys.executable}: {error}") from error
    finally:
        for descriptor in theirs:
            os.close(descriptor)
        guest_control.close()
    jail = JailProcess(process, ours[0], ours[1], ours[2], control, outputs, cgroup)
    full_plan = {
        **plan,
        "parent": os.getpid(),
        "descriptors": dict(zip(names, numbers, strict=True)),
    }
    full_plan["status"] = theirs[2]
    try:
        if cgroup is not None:
            cgroup.add(process.pid)  # before it has the plan, so before it starts anything
        _send_plan(process, full_plan)
    except OSError as error:
        jail.__exit__(None, None, None)
        raise NoJailError(f"the jail's first process died: {error}") from error
    return jail


def environment_binds() -> list[dict[str, object]]:
    """What every jail shows of this machine."""
    python = [_bind(path, path, private=True, executable=True) for path in python_folders()]
    system = [_bind(path, path, private=False, executable=True) for path in system_paths()]
    return [*system, *python]


def input_bind(folder: str, target: str) -> dict[str, object]:
    """Show a folder of the job's input at `target`; nothing in it can be mapped to be run."""
    return _bind(folder, target, private=True, executable=False)


def _bind(source: str, target: str, *, private: bool, executable: bool) -> dict[str, object]:
    return {"source": source, "target": target, "private": private, "executable": executable}


def _send_plan(process: subprocess.Popen[bytes], plan: dict[str, object]) -> None:
    if process.stdin is None:
        raise OSError("no standard input")
    process.stdin.write(json.dumps(plan).encode() + b"\n")
    process.stdin.flush()
