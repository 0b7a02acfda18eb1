"""The supervisor's part in a training that the script asks for: limits, and the way back."""

import os
import socket
from array import array
from collections.abc import Iterator, Sequence

from bcai.bridge.sandbox.jail import Metric, Progress
from bcai.bridge.sandbox.level import ALONE, JailReport
from bcai.bridge.sandbox.trainer import FILES, Answer, Trainer

_SHARE_LEFT = 16  # of the memory limit: one part is for what the script takes while it waits


class AskedTraining:
    """Stands between one jail and its `Trainer`, if it has one."""

    def __init__(self, control: socket.socket, trainer: Trainer | None, memory_bytes: int) -> None:
        self._control = control
        self._trainer = trainer
        self._memory_bytes = memory_bytes
        self._has_begun = False

    def ask(self, files: Sequence[int], report: JailReport, wall_s: float, used_bytes: int) -> None:
        """Begin, within what the script leaves of the job's limits, or say why not."""
        left = self._memory_bytes - self._memory_bytes // _SHARE_LEFT - used_bytes
        if self._trainer is None or report.level in ALONE:
            self._send(Answer.failed("nothing can be trained from within this job"))
        elif len(files) != FILES:
            self._send(Answer.failed(f"found {len(files)} files, expected {FILES}"))
        elif self._has_begun:
            message = "a job has one training: its script has asked for one before"
            self._send(Answer.failed(message, "train again in another job, or where you are"))
        elif left <= 0:
            message = "the script has taken all of its memory: nothing is left for a training"
            self._send(Answer.failed(message, "ask for more with limits.memory"))
        else:
            self._has_begun = True
            self._trainer.begin(files, wall_s, left)

    def leaves_less_than(self, used_bytes: int) -> bool:
        """Whether script and training together have more memory than the job may have."""
        reserved = 0 if self._trainer is None else self._trainer.memory_bytes
        return reserved > 0 and used_bytes + reserved > self._memory_bytes

    def serve(self) -> Iterator[Metric | Progress]:
        """What the training has told; sends its end to the script."""
        if self._trainer is None:
            return
        answer = self._trainer.answer()
        yield from self._trainer.events()
        if answer is not None:
            self._send(answer)

    def end(self) -> None:
        """Stop it: nobody waits for it any more."""
        if self._trainer is not None:
            self._trainer.end()

    def _send(self, answer: Answer) -> None:
        """Never waits: a script that does not read its answers gets no more of them."""
        try:
            # Not `socket.send_fds`: Python 3.11's takes flags and forgets them.
            rights = array("i", answer.files)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            self._control.sendmsg([answer.text], ancillary, socket.MSG_DONTWAIT)
        except OSError:
            pass
        finally:
            for file in answer.files:
                os.close(file)
