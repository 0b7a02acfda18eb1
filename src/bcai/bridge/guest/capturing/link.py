"""The script's end of the channel to the process that executes and records its operations.

A frame is a length of four bytes, lowest first, that many bytes of canonical CBOR, and for values
their elements (`sandbox/capture_frames.py` has the fields, and reads them without trust).
"""

import socket
from typing import Any, Protocol

from bcai.base.errors import JobFailedError
from bcai.bridge.guest.capturing.part import Source
from bcai.bridge.sandbox.capture_frames import Kind, Reply, frame_length
from bcai.vm.program import cbor

_READ_BYTES = 1 << 20


class Link(Protocol):
    """What the mode asks of the node; only `fetch` waits for an answer."""

    def define(self, program: bytes) -> None:
        """Send the next program; they are numbered from 0."""
        ...

    def run(self, number: int, sources: list[Source], outputs: list[int]) -> None:
        """Run a program; its outputs get these numbers."""
        ...

    def give(self, handle: int, dtype: int, shape: list[int], origin: str, data: Any) -> None:
        """Hand over a value of the script's own."""
        ...

    def free(self, handles: list[int]) -> None:
        """Say which values nobody can reach any more."""
        ...

    def unmapped(self, op: str, place: str) -> None:
        """Say which operation the script's own torch executed, and for which line."""
        ...

    def fetch(self, handle: int) -> bytes:
        """A value's elements, once all before is executed."""
        ...


class SocketLink:
    """A `Link` over a stream socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._waiting = bytearray()
        self._refusal: JobFailedError | None = None  # after which the node takes nothing

    def define(self, program: bytes) -> None:
        """See `Link`."""
        self._put([Kind.DEFINE, program])

    def run(self, number: int, sources: list[Source], outputs: list[int]) -> None:
        """See `Link`."""
        self._put([Kind.RUN, number, sources, outputs])
        self._send()  # so that it runs while the script goes on

    def give(self, handle: int, dtype: int, shape: list[int], origin: str, data: Any) -> None:
        """See `Link`."""
        self._put([Kind.GIVE, handle, dtype, shape, origin])
        self._send()
        self._send_all(data)

    def free(self, handles: list[int]) -> None:
        """See `Link`."""
        self._put([Kind.FREE, handles])

    def unmapped(self, op: str, place: str) -> None:
        """See `Link`."""
        self._put([Kind.UNMAPPED, op, place])

    def fetch(self, handle: int) -> bytes:
        """See `Link`. Raises JobFailedError with the node's reason."""
        if self._refusal is not None:
            raise self._refusal
        self._put([Kind.FETCH, handle])
        self._send()
        return self._answer()

    def _put(self, fields: list[Any]) -> None:
        data = cbor.encode([int(fields[0]), *fields[1:]])
        self._waiting += frame_length(len(data)) + data

    def _send(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        self._send_all(data)

    def _send_all(self, data: Any) -> None:
        try:
            self._channel.sendall(data)
        except OSError:
            if self._refusal is not None:
                raise self._refusal from None
            self._answer()  # why the node has closed its end
            raise JobFailedError("capture: the node is gone") from None

    def _answer(self) -> bytes:
        size = int.from_bytes(self._read(4), "little")
        fields = cbor.decode(self._read(size))
        if fields[0] == Reply.VALUE:
            return self._read(fields[1])
        self._refusal = JobFailedError(f"capture: {fields[1]}", hint=fields[2])
        raise self._refusal

    def _read(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            try:
                data = self._channel.recv(min(count - len(found), _READ_BYTES))
            except OSError:
                data = b""
            if not data:
                raise JobFailedError("capture: the node is gone")
            found += data
        return bytes(found)
