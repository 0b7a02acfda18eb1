"""What there is to reach on the machine: prepared by a test, for controls and attempts alike."""

import os
import socket
import tempfile
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECRET = "opensesame"
MARK = f"try{os.getpid()}"[:15]  # the name of every process that an attempt starts


@contextmanager
def targets(folder: Path) -> Generator[dict[str, object], None, None]:
    """A secret, an open descriptor next to it, a process, and every kind of server."""
    other = folder / "other-job"
    other.mkdir()
    (other / "secret.txt").write_text(SECRET)
    names = [f"bcai-{kind}-{os.getpid()}" for kind in ("stream", "datagram")]
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # a path of 107 bytes
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stream = stack.enter_context(socket.socket(socket.AF_UNIX))
        datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        udp.bind(("127.0.0.1", 0))
        stream.bind("\0" + names[0])
        datagram.bind("\0" + names[1])
        named.bind(str(short / "s"))
        for server in (stream, named):
            server.listen()
        left_open = os.open(other, os.O_RDONLY)
        stack.callback(os.close, left_open)
        os.set_inheritable(left_open, True)
        threading.Thread(target=_accept, args=(tcp,), daemon=True).start()
        yield {
            "mark": MARK,
            "secret": str(other / "secret.txt"),
            "open": left_open,
            "pid": os.getpid(),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "abstract": names[0],
            "datagram": names[1],
            "socket": str(short / "s"),
            "host": os.uname().nodename,
            "home": str(folder),
        }


def _accept(server: socket.socket) -> None:
    """Take connections, so that no queue fills up, until the server is closed."""
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def marked_processes() -> list[int]:
    """What attempts have started and still runs, anywhere on the machine."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == MARK:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
