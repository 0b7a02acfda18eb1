"""The network's listening socket. The supervisor holds it, so the port outlives a gateway."""

import errno
import socket
from contextlib import suppress
from pathlib import Path

from bcai.base.errors import InputError, ResourceError

BACKLOG = 1024  # connections that wait while a gateway restarts
_LISTENS = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h


def listen(host: str, port: int, *, preferred: int = 0) -> socket.socket:
    """Listen on a port; for port 0 on the preferred one where it is free, else on any.

    Raises
    ------
    ResourceError
        The port is taken; the message says by whom.
    InputError
        This machine does not have that address, or the port is a privileged one.
    """
    if port == 0 and preferred:
        with suppress(ResourceError):
            return listen(host, preferred)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InputError(f"host: found {host!r}, expected an address of this machine") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _refusal(error, host, port) from error
    return listener


def _refusal(error: OSError, host: str, port: int) -> InputError | ResourceError:
    if error.errno == errno.EADDRINUSE:
        owner = owner_of(port)
        return ResourceError(
            f"port {port} is taken{f' by {owner}' if owner else ''}",
            hint="choose another with --port, or --port 0 for any that is free",
        )
    if error.errno == errno.EACCES:
        return InputError(
            f"port {port} needs more rights than this user has", hint="choose one above 1023"
        )
    return InputError(f"cannot listen on {host}, port {port}: {error.strerror}")


def owner_of(port: int) -> str:
    """Name the process that listens on a port, as far as we may see; else an empty string."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or somebody else's
            for entry in (process / "fd").iterdir():
                if str(entry.readlink()) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f"{name} (process {process.name})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{columns[9]}]")
    return found
