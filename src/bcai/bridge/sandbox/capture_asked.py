"""The supervisor's part in a capture: the script gets its end of the channel, once, and a limit."""

import os
import socket
from array import array
from typing import Protocol

from bcai.bridge.sandbox.level import ALONE, JailReport
from bcai.bridge.sandbox.trainer import Answer

ASKED = b'{"kind": "capturing"}'


class Capturer(Protocol):
    """Executes and records the tensor operations of one script, outside of its jail."""

    @property
    def memory_bytes(self) -> int:
        """What it may take; the script has only the rest of its limit."""
        ...

    def begin(self) -> int:
        """Start, one time; returns the script's end of the channel, which the caller closes."""
        ...


class AskedCapture:
    """Stands between one jail and its `Capturer`, if it has one."""

    def __init__(
        self, control: socket.socket, capturer: Capturer | None, memory_bytes: int
    ) -> None:
        self._control = control
        self._capturer = capturer
        self._memory_bytes = memory_bytes
        self._has_begun = False

    def ask(self, report: JailReport) -> None:
        """Begin, or say why not."""
        if self._capturer is None or self._has_begun:
            self._send(Answer.failed("nothing is captured of this job"))
        elif report.level in ALONE:
            message = f"capture needs a jail of level A or B; this one has level {report.level}"
            self._send(Answer.failed(message, "run it on another node"))
        else:
            self._has_begun = True
            self._send(Answer(ASKED, (self._capturer.begin(),)))

    def leaves_less_than(self, used_bytes: int) -> bool:
        """Whether script and captured tensors together have more memory than the job may have."""
        if self._capturer is None or not self._has_begun:
            return False
        return used_bytes + self._capturer.memory_bytes > self._memory_bytes

    def _send(self, answer: Answer) -> None:
        """Never waits: a script that does not read its answer does not get it."""
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", answer.files))]
            self._control.sendmsg([answer.text], ancillary, socket.MSG_DONTWAIT)
        except OSError:
            pass
        finally:
            for file in answer.files:
                os.close(file)
