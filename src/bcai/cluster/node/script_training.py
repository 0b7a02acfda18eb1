"""Trains for a script in the jail: what it asks for runs as a training job does, outside the jail.

Note [A script asks for a training]
    The files come from the script, which can write to them, shrink them or send something else in
    their place. So nothing is mapped or parsed where it lies: a file must be one of memory, as all
    of a jail's own disk are (reading it cannot hang), and is copied once, by `pread`, up to a
    limit; only the copy is looked at. The rest are the checks of a training job: Program, Run,
    rows and state are verified by its own process, within limits that the script has not used up.
    A job has one training, so one receipt; `AskedTraining` sees to that.
"""

import fcntl
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bcai.base.errors import FormatError
from bcai.base.units import MIB, format_size
from bcai.bridge.sandbox.inputs import sealed_file
from bcai.bridge.sandbox.jail import (
    Cause,
    JailEvent,
    JailExit,
    JailLimits,
    JailRequest,
    Metric,
    Progress,
)
from bcai.bridge.sandbox.safetensors_check import check_header
from bcai.bridge.sandbox.trainer import FILES, Answer
from bcai.cluster.node.inputs import DATA, PROJECT
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.run_training import launch_training
from bcai.jobs.training import ENTRY, FINAL_STATE, HISTORY, ROWS, RUN, STATE
from bcai.settings import EnhancedVmSettings

_PLACES = ((PROJECT, ENTRY), (PROJECT, RUN), (DATA, ROWS), (DATA, STATE))
_TENSORS = (ROWS, STATE)
_CODE_BYTES_MAX = 64 * MIB  # of a Program, and of a Run
_COPY_BYTES = 1 << 20


@dataclass(slots=True)
class ScriptTrainer:
    """The `Trainer` of one job of Python.

    Attributes
    ----------
    folder
        Of the training alone; no part of it is shown in the jail. Made when it is needed.
    limits
        Of the job.
    receipt
        What the node signed, once the training is over.
    """

    folder: Path
    limits: JailLimits
    plan: ReceiptPlan
    settings: EnhancedVmSettings
    kept: Path
    receipt: bytes | None = None
    used: JailExit | None = None  # by the training, once it has ended
    _memory_bytes: int = 0
    _thread: threading.Thread | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _events: deque[Metric | Progress] = field(default_factory=deque[Metric | Progress])
    _answer: Answer | None = None

    @property
    def memory_bytes(self) -> int:
        """What it may take now."""
        return self._memory_bytes

    def begin(self, files: Sequence[int], wall_s: float, memory_bytes: int) -> None:
        """Start, one time; see Note [A script asks for a training]."""
        self._memory_bytes = memory_bytes
        own = [os.dup(file) for file in files]
        limits = replace(
            self.limits, wall_s=wall_s, memory_bytes=memory_bytes, output_bytes=memory_bytes
        )
        self._thread = threading.Thread(
            target=self._train, args=(own, limits), name="bcai-training", daemon=True
        )
        self._thread.start()

    def events(self) -> Iterator[Metric | Progress]:
        """What it has told since this was last asked."""
        while self._events:
            yield self._events.popleft()

    def answer(self) -> Answer | None:
        """Return the end of the training once it is there, one time."""
        found, self._answer = self._answer, None
        return found

    def end(self) -> None:
        """Stop the training, if one runs, and close what nobody took."""
        self._cancelled.set()
        if self._thread is not None:
            self._thread.join()
        left = self.answer()
        for file in left.files if left else ():
            os.close(file)

    def _train(self, files: Sequence[int], limits: JailLimits) -> None:
        """The thread: copy, run, answer."""
        try:
            try:
                self._copy(files)
            finally:
                for file in files:
                    os.close(file)
            self.plan.write(self.folder)
            request = JailRequest(self.folder / PROJECT, ENTRY, self.folder / DATA, (), limits)
            ended = launch_training(
                request, self._take, self._cancelled, settings=self.settings, kept=self.kept
            )
            self.used = ended
            answer = self._answer_of(ended)
        except FormatError as error:
            answer = Answer.failed(f"the node refuses this training: {error}")
        except OSError as error:
            answer = Answer.failed(f"the node could not train: {error.strerror}")
        self._memory_bytes = 0  # nothing of it is left
        self._answer = answer

    def _take(self, event: JailEvent) -> None:
        if isinstance(event, Metric | Progress):
            self._events.append(event)

    def _copy(self, files: Sequence[int]) -> None:
        """Take what was asked for out of the script's reach."""
        if len(files) != FILES:
            raise FormatError(f"found {len(files)} files, expected {FILES}")
        left = min(self._memory_bytes, self.limits.disk_bytes)
        for mount in (PROJECT, DATA):
            (self.folder / mount).mkdir(parents=True, mode=0o700)
        for file, (mount, name) in zip(files, _PLACES, strict=True):
            most = left if name in _TENSORS else min(left, _CODE_BYTES_MAX)
            left -= _copy_of(file, self.folder / mount / name, most)

    def _answer_of(self, ended: JailExit) -> Answer:
        if ended.cause is not Cause.EXITED or ended.receipt is None:
            return Answer.failed(f"the training failed: {ended.message}", ended.hint)
        found = {output.name: output.content or b"" for output in ended.outputs}
        self.receipt = ended.receipt
        contents = (found[FINAL_STATE], found[HISTORY], ended.receipt)
        return Answer(b'{"kind": "trained"}', tuple(sealed_file(each) for each in contents))


def _copy_of(file: int, path: Path, bytes_max: int) -> int:
    """Copy a file of the script's, once; return its size.

    Raises
    ------
    FormatError
        It is no file of the jail's own disk, too large, or no safetensors file where one should be.
    """
    if not stat.S_ISREG(os.fstat(file).st_mode) or not _is_in_memory(file):
        raise FormatError(f"{path.name}: expected a file of the work folder")
    size = 0
    with path.open("xb", buffering=0) as copy:
        os.fchmod(copy.fileno(), 0o600)
        while data := os.pread(file, _COPY_BYTES, size):
            size += len(data)
            if size > bytes_max:
                most = format_size(bytes_max)
                raise FormatError(
                    f"{path.name}: found more than {most}, which is what limits.disk and "
                    "limits.memory leave for the files of a training"
                )
            copy.write(data)
    if path.name in _TENSORS:
        with path.open("rb") as copy:
            try:
                check_header(copy.fileno())
            except FormatError as error:
                raise FormatError(f"{path.name}: {error}") from error
    return size


def _is_in_memory(file: int) -> bool:
    """Whether the kernel knows seals for it, as for files in memory and on a tmpfs only."""
    try:
        fcntl.fcntl(file, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True
