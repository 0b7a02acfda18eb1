"""Where a gateway that listens is reached."""

import socket


def address_of(listener: socket.socket) -> str:
    """Where programs on this machine reach the listener, such as `http://127.0.0.1:8080`."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - the same
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
