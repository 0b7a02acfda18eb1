"""Wakes the other processes of this machine after a commit: one datagram socket for each.

A ring carries nothing and may be lost; whoever hears it looks into the database.
"""

import os
import secrets
import socket
from pathlib import Path
from types import TracebackType

BELLS_MAX = 256  # sockets rung at most; a network has a handful of processes
_RING = b"\0"


class Doorbell:
    """Our own bell in a shared folder, and the way to ring everybody's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        # A socket's address holds 107 bytes; through the folder's descriptor any path is short.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address(self._name))
        self._socket.setblocking(False)

    def __enter__(self) -> "Doorbell":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take our bell away."""
        self._socket.close()
        self._unlink(self._name)
        os.close(self._folder)

    def fileno(self) -> int:
        """Descriptor that becomes readable when somebody rings."""
        return self._socket.fileno()

    def silence(self) -> None:
        """Take in the rings that gathered."""
        for _ in range(BELLS_MAX):
            try:
                self._socket.recv(16)
            except BlockingIOError:
                return

    def ring(self) -> None:
        """Ring every bell of the folder, our own too; take away those that nobody answers."""
        for name in self._bells():
            try:
                self._socket.sendto(_RING, self._address(name))
            except ConnectionRefusedError:  # its process is gone
                self._unlink(name)
            except OSError:
                continue  # it rings already, or has just left, or is not ours

    def _bells(self) -> list[str]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - a descriptor, not a path
        except OSError:  # a bell that cannot ring must not stop a commit
            return []
        return [name for name in names if name.endswith(".sock")][:BELLS_MAX]

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._folder)
        except OSError:
            return  # another process was quicker
