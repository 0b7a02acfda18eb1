"""How a plan reaches a program of the jail: one line of JSON on standard input."""

import os

PLAN_BYTES_MAX = 4 << 20


def read_line(descriptor: int) -> bytes:
    """Read up to a newline, nothing more: the pipe stays open as our leash."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= PLAN_BYTES_MAX:
        chunk = os.read(descriptor, 65536)
        if not chunk:
            os._exit(1)
        line += chunk
    return line
