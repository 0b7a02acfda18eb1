"""The host's end of a jail that stands by: what was opened for it, and how a job is sent to it."""

import contextlib
import json
import os
import select
import socket
import struct
from dataclasses import dataclass, field
from itertools import count

from bcai.bridge.sandbox.cgroup import GroupLimits, group_name, new_cgroup
from bcai.bridge.sandbox.process import JailProcess, Pipes
from bcai.bridge.sandbox.request import PREPARE, send

_HELLO_S_MAX = 10.0
_END_S_MAX = 5.0
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_numbers = count(1)


class Standby:
    """A jail without a job. Hand it one with `start`, or `close` it.

    Parameters
    ----------
    keeper
        The socket to the keeper of the zygote that shall prepare it.

    Raises
    ------
    OSError
        The zygote is gone.
    """

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self._leash, guest_leash = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._leash.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._pipes = Pipes.new(None)
        self._cgroup = new_cgroup(group_name(f"warm{next(_numbers)}"))
        try:
            self._prepare(guest_leash)
            self._process = WarmProcess(os.pidfd_open(_hello(self._leash)), self._leash)
        except OSError:
            self._leash.close()
            self._give_back()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it is there, or is still being prepared."""
        return not self._process.wait(0)

    def start(
        self,
        request: dict[str, object],
        *,
        outputs: int,
        limits: GroupLimits | None,
        inputs: int | None,
    ) -> JailProcess:
        """Start a job in it; takes over `outputs`.

        Raises
        ------
        OSError
            It is gone. `outputs` is still the caller's, and so is `close`.
        """
        if self._cgroup is not None and limits is not None:
            self._cgroup.limit(limits)
        tensors = os.open(os.devnull, os.O_RDONLY) if inputs is None else os.dup(inputs)
        try:
            descriptors = [outputs, tensors, self._leash.fileno()]
            send(self._keeper, json.dumps(request).encode(), descriptors)
        finally:
            os.close(tensors)
        return JailProcess(self._process, self._pipes, outputs, self._cgroup)

    def close(self) -> None:
        """End it and wait until it is gone."""
        self._process.let_go()
        if not self._process.wait(_END_S_MAX):
            self._process.kill()
            self._process.wait(_END_S_MAX)
        self._process.close()
        self._give_back()

    def _prepare(self, guest_leash: socket.socket) -> None:
        """Have it built, in a control group that has no limits yet."""
        doors = [] if self._cgroup is None else self._cgroup.open_doors()
        stdout, stderr, status, _ = self._pipes.theirs
        control = self._pipes.guest_control
        try:
            theirs = [guest_leash.fileno(), stdout, stderr, status, control.fileno(), *doors]
            send(self._keeper, PREPARE, theirs)
        finally:
            guest_leash.close()
            self._pipes.close_theirs()
            for door in doors:
                os.close(door)

    def _give_back(self) -> None:
        self._pipes.close()
        if self._cgroup is not None:
            self._cgroup.remove()


@dataclass(slots=True)
class WarmProcess:
    """Pid 1 of a warm job's jail, as `JailProcess` wants it."""

    pidfd: int
    leash: socket.socket
    _open: bool = field(default=True)

    def let_go(self) -> None:
        """Close the leash."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self.leash.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def kill(self) -> None:
        """Kill it, and all that runs in the jail."""
        import signal

        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Give its descriptors back."""
        self.leash.close()
        os.close(self.pidfd)


def _hello(leash: socket.socket) -> int:
    """Our number for the process at the other end. Raises OSError."""
    leash.settimeout(_HELLO_S_MAX)
    message, ancillary, _, _ = leash.recvmsg(16, socket.CMSG_SPACE(_CREDENTIALS.size))
    leash.settimeout(None)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and message:
            return int(_CREDENTIALS.unpack(data)[0])
    raise OSError("no answer")
