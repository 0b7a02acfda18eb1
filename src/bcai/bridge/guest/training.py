"""A training that a script asks its node for: files out, a sealed state back."""

import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import IO, Any

from bcai.base.errors import InputError, JobFailedError
from bcai.bridge.guest import surroundings
from bcai.bridge.limits import MESSAGE_BYTES_MAX
from bcai.bridge.report import TrainedState
from bcai.bridge.tensor_file import TensorFile, write_all
from bcai.bridge.tensor_views import arrays_of, map_file

_ANSWER_FILES = 3
_NEEDS_DISK = (
    "bcai.fit in a job needs a jail of level A or B, with a disk of the job's own; this one has "
    "level {level}"
)


class NodeTrainer:
    """The `Trainer` of `report.py` inside a job."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._job = os.getpid()
        self._lock = threading.Lock()  # an answer has no other mark of its question

    def check(self) -> None:
        """Raise where no training can be asked for.

        Raises
        ------
        InputError
            The jail has no disk, or this is a process that the script has started.
        """
        if not surroundings.has_own_disk():
            message = _NEEDS_DISK.format(level=surroundings.level())
            hint = "run it on another node, or call bcai.fit outside of a job"
            raise InputError(message, hint=hint)
        if os.getpid() != self._job:
            raise InputError("bcai.fit: only the script's first process can ask for a training")

    def train(
        self, program: bytes, run: bytes, rows: Mapping[str, Any], state: Mapping[str, Any]
    ) -> TrainedState:
        """Ask for it and wait.

        Raises
        ------
        InputError
            As `check`.
        JobFailedError
            The node refused it, or it failed.
        OSError
            The files do not fit on the job's disk.
        """
        self.check()
        from contextlib import ExitStack
        from tempfile import TemporaryFile

        with self._lock, ExitStack() as stack:
            files: list[IO[bytes]] = [
                stack.enter_context(TemporaryFile(dir=surroundings.work)) for _ in range(4)
            ]
            numbers = [file.fileno() for file in files]
            for number, content in zip(numbers, (program, run), strict=False):
                write_all(number, content, 0)
            for number, tensors in zip(numbers[2:], (rows, state), strict=True):
                TensorFile(dict(tensors)).write(number, 0)
            return self._ask(numbers)

    def _ask(self, files: list[int]) -> TrainedState:
        with socket.socket(fileno=os.dup(self._control)) as control:
            try:
                question = {"type": "train", "memory_bytes": _own_memory_bytes()}
                socket.send_fds(control, [json.dumps(question).encode()], files)
                text, given, _, _ = socket.recv_fds(control, MESSAGE_BYTES_MAX, _ANSWER_FILES)
            except OSError as error:
                raise JobFailedError(f"bcai.fit: the node is gone: {error.strerror}") from error
        try:
            answer: dict[str, str] = json.loads(text or b'{"kind": "failed"}')
            if answer["kind"] != "trained":
                message = answer.get("message", "the node is gone")
                raise JobFailedError(f"bcai.fit: {message}", hint=answer.get("hint", ""))
            state, history, receipt = given
            size = os.fstat(receipt).st_size
            return TrainedState(
                arrays_of(map_file(state)), arrays_of(map_file(history)), os.pread(receipt, size, 0)
            )
        finally:
            for file in given:
                os.close(file)


def _own_memory_bytes() -> int:
    """What this process has that belongs to no file, as the jail's first process counts it."""
    with open("/proc/self/statm", "rb") as file:
        _, resident, shared, *_ = file.read().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
