"""Starts the program that builds a jail, as a fresh process: never a fork of this one's threads."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.cgroup import Cgroup
from bcai.bridge.sandbox.environment import (
    JobPython,
    environment_variables,
    outermost,
    own_python,
    package_folder,
    program_paths,
    python_command,
    system_paths,
)

_END_WAIT_S = 30.0
_KILL_WAIT_S = 5.0


class Leashed(Protocol):
    """The process that holds a jail together, from outside."""

    def let_go(self) -> None:
        """Tell it to end the jail. Returns at once; may be called again."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        ...

    def kill(self) -> None:
        """Kill it; pid 1 of the jail dies with it."""
        ...

    def close(self) -> None:
        """Give its descriptors back."""
        ...


@dataclass(slots=True)
class Pipes:
    """What runs between host and jail: our ends, and theirs until they are handed over."""

    stdout: int
    stderr: int
    status: int
    control: socket.socket
    theirs: list[int]
    guest_control: socket.socket

    @classmethod
    def new(cls, inputs: int | None) -> "Pipes":
        """Open stdout, stderr, status and the control channel; `inputs` stays the caller's."""
        tensors = os.open(os.devnull, os.O_RDONLY) if inputs is None else os.dup(inputs)
        pairs = [os.pipe() for _ in range(3)]
        control, guest_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours = [read for read, _ in pairs]
        theirs = [*(write for _, write in pairs), tensors]
        return cls(ours[0], ours[1], ours[2], control, theirs, guest_control)

    def close_theirs(self) -> None:
        """Close the ends that the jail has by now."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs.clear()
        self.guest_control.close()

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        for descriptor in (self.stdout, self.stderr, self.status):
            os.close(descriptor)
        self.control.close()


@dataclass(slots=True)
class JailProcess:
    """A jail that runs, and our ends of its pipes. Leaving the `with` block ends it for sure."""

    process: Leashed
    pipes: Pipes
    outputs: int
    cgroup: Cgroup | None

    def __enter__(self) -> "JailProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self.process.close()
        self.pipes.close()
        os.close(self.outputs)
        if self.cgroup is not None:
            self.cgroup.remove()

    def let_go(self) -> None:
        """Close the leash: the jail is killed, with all that runs in it. Returns at once."""
        self.process.let_go()

    def end(self) -> None:
        """Kill the jail and wait until nothing of it is left."""
        self.let_go()
        if not self.process.wait(_END_WAIT_S):
            self.process.kill()
            self.process.wait(_KILL_WAIT_S)


class ColdProcess:
    """A jail's own program, started for it alone."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._is_held = True

    def let_go(self) -> None:
        """Close its standard input."""
        if self._is_held and self._process.stdin is not None:
            self._is_held = False
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def close(self) -> None:
        """Nothing is left to close."""


def start_jail(
    plan: dict[str, object],
    *,
    processes: int,
    outputs: int,
    cgroup: Cgroup | None,
    executable: str = sys.executable,
    inputs: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> JailProcess:
    """Start a jail after `plan`, in the Python `executable`; it takes over `outputs` and `cgroup`.

    Parameters
    ----------
    variables
        For the job's environment, beside those of every job.

    Raises
    ------
    NoJailError
        The program could not be started at all.
    """
    pipes = Pipes.new(inputs)
    names = ("stdout", "stderr", "status", "inputs", "control", "outputs")
    numbers = (*pipes.theirs, pipes.guest_control.fileno(), outputs)
    script = package_folder() / "bridge" / "sandbox" / "build_jail.py"
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            python_command(executable, script),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=pipes.theirs[1],
            pass_fds=numbers,
            env=environment_variables(processes) | dict(variables or {}),
            cwd="/",
        )
    except OSError as error:
        pipes.close()
        os.close(outputs)
        if cgroup is not None:
            cgroup.remove()
        raise NoJailError(f"cannot start {executable}: {error}") from error
    pipes.close_theirs()
    jail = JailProcess(ColdProcess(process), pipes, outputs, cgroup)
    full_plan = {
        **plan,
        "parent": os.getpid(),
        "descriptors": dict(zip(names, numbers, strict=True)),
    }
    full_plan["status"] = numbers[2]
    try:
        if cgroup is not None:
            cgroup.add(process.pid)  # before it has the plan, so before it starts anything
        _send_plan(process, full_plan)
    except OSError as error:
        jail.__exit__(None, None, None)
        raise NoJailError(f"the jail's first process died: {error}") from error
    return jail


def environment_binds(python: JobPython | None = None) -> list[dict[str, object]]:
    """What every jail shows of this machine; None: the node's own Python."""
    shown = outermost([*(python or own_python()).folders, str(package_folder())])
    folders = [_bind(path, path, private=True, executable=True) for path in shown]
    system = [_bind(path, path, private=False, executable=True) for path in system_paths()]
    return [*system, *folders]


def program_binds() -> list[dict[str, object]]:
    """What jobs that may start programs see as well."""
    return [_bind(path, path, private=False, executable=True) for path in program_paths()]


def input_bind(folder: str, target: str) -> dict[str, object]:
    """Show a folder of the job's input at `target`; nothing in it can be mapped to be run."""
    return _bind(folder, target, private=True, executable=False)


def library_bind(source: str, target: str) -> dict[str, object]:
    """Show a library of the host at `target`."""
    return _bind(source, target, private=False, executable=True)


def _bind(source: str, target: str, *, private: bool, executable: bool) -> dict[str, object]:
    return {"source": source, "target": target, "private": private, "executable": executable}


def _send_plan(process: subprocess.Popen[bytes], plan: dict[str, object]) -> None:
    if process.stdin is None:
        raise OSError("no standard input")
    process.stdin.write(json.dumps(plan).encode() + b"\n")
    process.stdin.flush()
