"""The job's side of the control channel, and the place where its results are written.

The channel is a socket that keeps messages whole (SOCK_SEQPACKET), so that threads and forked
workers can report at the same time without a lock. Results are written into one memory file that
the host made, with a size that nobody can change; a message says where each one lies.
"""

import fcntl
import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from bcai.base.values import encode_value
from bcai.bridge.guest.encode import Encoded, NotKept, encode_output
from bcai.bridge.limits import MESSAGE_BYTES_MAX
from bcai.bridge.tensor_file import write_all

_HEADER_BYTES = 8  # of the memory file: where the next result goes
_TEXT_MAX = 4000


class Channel:
    """Reports to the host; the `Reporter` of `report.py` inside a job."""

    def __init__(self, control: int, outputs: int, output_bytes: int) -> None:
        self._control = control
        self._outputs = outputs
        self._output_bytes = output_bytes
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # name: offset, room
        self._sizes: dict[str, int] = {}
        self.named: set[str] = set()
        os.register_at_fork(after_in_child=self._after_fork)

    def metric(self, step: int | None, values: dict[str, float]) -> None:
        """Send one point of the metrics."""
        self._send(
            type="metric",
            step=step,
            values={name: encode_value(value) for name, value in values.items()},
        )

    def progress(self, fraction: float) -> None:
        """Send how far the job is."""
        self._send(type="progress", fraction=fraction)

    def warn(self, message: str) -> None:
        """Send a sentence for the end of the result."""
        self._send(type="warning", message=message[:_TEXT_MAX])

    def end(self, cause: str, message: str, hint: str, line: int | None) -> None:
        """Send how the script ended; the last message."""
        texts = {"message": message[:_TEXT_MAX], "hint": hint[:_TEXT_MAX]}
        self._send(type="end", cause=cause, line=line, **texts)

    def output(self, name: str, value: object) -> None:
        """Keep a result that the user named.

        Raises
        ------
        TypeError
            It is of a kind that cannot be kept.
        ValueError
            It is over the limit; the job then ends for that reason, even if this is caught.
        """
        try:
            self.keep(name, encode_output(value))
        except NotKept as error:
            message = f"output {name!r}: {error}"
            if not error.too_large:
                raise TypeError(message) from None
            self._send(type="too_large", message=message[:_TEXT_MAX])
            raise ValueError(message) from None
        self.named.add(name)

    def keep(self, name: str, encoded: Encoded) -> None:
        """Write a result and tell the host.

        Raises
        ------
        NotKept
            It is over the limit.
        """
        with self._lock:
            if encoded.size > self._room_bytes(name):
                raise NotKept.over(encoded.size, self._output_bytes)
            fields: dict[str, object] = {"type": "output", "name": name, "kind": encoded.kind}
            if encoded.inline is not None:
                self._send(**fields, value=encoded.inline)
            else:
                offset = self._place(name, encoded.size)
                self._send(type="forget", name=name)  # until it is complete
                encoded.write(self._outputs, offset)
                self._send(**fields, offset=offset, size=encoded.size)
            self._sizes[name] = encoded.size

    def _room_bytes(self, name: str) -> int:
        """How large a result with this name may be, next to those that are kept already."""
        others = sum(size for kept, size in self._sizes.items() if kept != name)
        return self._output_bytes - others

    def _place(self, name: str, size: int) -> int:
        """Offset for a result: where one of the same name was if that is large enough."""
        offset, room = self._places.get(name, (0, -1))
        if size <= room:
            return offset
        with self._locked_file():
            end = os.fstat(self._outputs).st_size
            offset = int.from_bytes(os.pread(self._outputs, _HEADER_BYTES, 0), "little")
            offset = max(_HEADER_BYTES, offset)
            if offset + size > end:
                raise NotKept.over(size, self._output_bytes)
            write_all(self._outputs, (offset + size).to_bytes(_HEADER_BYTES, "little"), 0)
        self._places[name] = (offset, size)
        return offset

    @contextmanager
    def _locked_file(self) -> Generator[None]:
        """Keep other processes of the job from taking the same place."""
        fcntl.lockf(self._outputs, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._outputs, fcntl.LOCK_UN)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it

    def _send(self, **message: object) -> None:
        data = json.dumps(message, allow_nan=False, ensure_ascii=True).encode()
        if len(data) > MESSAGE_BYTES_MAX:
            raise ValueError(
                f"a report of {len(data)} bytes is too long, expected at most {MESSAGE_BYTES_MAX}"
            )
        try:
            os.write(self._control, data)  # one message, however many write at once
        except OSError:
            return  # the user's code closed the channel; the host says so at the end
