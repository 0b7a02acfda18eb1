"""The gateway's process: read the settings, listen, serve, stop in good order."""

import argparse
import json
import logging
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import anyio
import uvicorn

from bcai.base.errors import BcaiError, exit_status
from bcai.cluster.gateway.address import address_of
from bcai.cluster.gateway.app import create_app
from bcai.cluster.gateway.limits import (
    BACKLOG,
    FRAME_BYTES_MAX,
    FRAMES_WAITING_MAX,
    PING_S,
    SHUTDOWN_S_MAX,
)
from bcai.cluster.gateway.services import Services, running_services
from bcai.cluster.store.open import open_blobs, open_store
from bcai.settings import Settings, read_settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bcai.cluster.gateway",
        description="Serve a BCAI network's REST interface and WebSockets.",
    )
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    parser.add_argument("--fd", type=int, help="an inherited, bound socket to listen on instead")
    parser.add_argument("--verbose", action="store_true", help="log every request to stderr")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = read_settings(host=options.host, port=options.port)
        listener = _listener(settings, options.fd)
        anyio.run(_serve, settings, listener, backend_options={"use_uvloop": True})
    except BcaiError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return exit_status(error.code)
    except OSError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    return 0


class _Server(uvicorn.Server):
    """Says where it listens, and ends what would go on for ever before it waits for the rest."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell the parent process the address."""
        await super().startup(sockets)
        if self.started and sockets:
            sys.stdout.write(json.dumps({"url": address_of(sockets[0])}) + "\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end the streams, close the WebSockets, finish the requests."""
        self._services.changes.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop in good order, and exit with 0: being told to stop is no failure."""
        earlier = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


async def _serve(settings: Settings, listener: socket.socket) -> None:
    """Run the server on a bound socket until a signal comes."""
    store, blobs = open_store(settings), open_blobs(settings)
    async with running_services(settings, store, blobs) as services:
        config = uvicorn.Config(
            create_app(services),
            http="httptools",
            ws="auto",
            ws_max_size=FRAME_BYTES_MAX,
            ws_max_queue=FRAMES_WAITING_MAX,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # it costs every WebSocket tens of KiB
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_S_MAX,
        )
        await _Server(config, services).serve(sockets=[listener])


def _listener(settings: Settings, descriptor: int | None) -> socket.socket:
    """Return a listening socket: the inherited one, or a new one."""
    if descriptor is not None:
        listener = socket.socket(fileno=descriptor)
    else:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    listener.listen(BACKLOG)
    return listener
