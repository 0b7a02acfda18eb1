"""How far a run is, kept on the node's disk: state, trace and losses, in one file.

A run is known by its digest, and its every bit follows from that: whoever asks for the same run
again, after whatever broke it off, may go on from there. What is read is checked against its own
trace; a file that is torn or of another kind counts as none.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import BcaiError
from bcai.proof.execute import check_state
from bcai.proof.recorder import Checkpoint, Trace
from bcai.proof.run import Run
from bcai.proof.trace_file import decode_trace, encode_trace
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram

_open: Any = safe_open  # untyped
_STATE, _HISTORY, _TRACE = "state/", "history/", "trace"
RUNS_MAX = 8
"""Runs that are kept at once: whoever broke off more has given up on the oldest."""
STATES_MAX = 8
"""States of one run on its way, for a defence to go on from; of more, every other one goes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run up to its last checkpoint; without any, before its first step."""

    state: Mapping[str, Array]
    checkpoints: tuple[Checkpoint, ...] = ()
    history: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def step(self) -> int:
        """Steps done."""
        return self.checkpoints[-1].step if self.checkpoints else 0


class KeptRun:
    """One run's place in a folder of them."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder = folder
        self._file = folder / f"{run.digest.hex()}.safetensors"
        self._states = folder / f"{run.digest.hex()}.states"
        self._run = run

    def read(self, program: VerifiedProgram) -> Progress | None:
        """What was kept; None if nothing is there that can be used."""
        try:
            with _open(self._file, "np") as file:
                names: list[str] = list(file.keys())
                metadata: dict[str, str] = file.metadata() or {}
                trace = decode_trace(bytes.fromhex(metadata.get(_TRACE, "")))
                arrays: dict[str, Array] = {name: file.get_tensor(name) for name in names}
        except (OSError, ValueError, SafetensorError, BcaiError):
            return None
        state = _below(arrays, _STATE)
        try:
            state = check_state(program, state, trace.final_state)
        except BcaiError:
            return None
        return Progress(state, trace.checkpoints, _below(arrays, _HISTORY))

    def write(self, progress: Progress) -> None:
        """Keep it, in place of what was there. A full disk costs only what could have been kept."""
        arrays = {_STATE + name: array for name, array in progress.state.items()}
        arrays |= {_HISTORY + name: array for name, array in progress.history.items()}
        trace = {_TRACE: encode_trace(Trace(progress.checkpoints)).hex()}
        part = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            save_file(arrays, part, metadata=trace)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            self._states.mkdir(exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                os.link(part, self._states / f"{progress.step}.safetensors")
            part.replace(self._file)
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)
        self._thin_states()
        self._forget_oldest()

    def states(self) -> dict[int, Path]:
        """Files of states on the way, by the number of steps done."""
        found = (file for file in self._states.glob("*.safetensors") if file.stem.isdecimal())
        return {int(file.stem): file for file in found}

    def remove(self) -> None:
        """Forget the run: it is over."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        shutil.rmtree(self._states, ignore_errors=True)

    def _thin_states(self) -> None:
        files = sorted(self.states().items())
        if len(files) > STATES_MAX:
            with suppress(OSError):
                for _, file in files[::2]:
                    file.unlink(missing_ok=True)

    def _forget_oldest(self) -> None:
        with suppress(OSError):
            files = self._folder.glob("*.safetensors")
            for file in sorted(files, key=lambda file: file.stat().st_mtime)[:-RUNS_MAX]:
                file.unlink(missing_ok=True)
                shutil.rmtree(file.with_suffix(".states"), ignore_errors=True)


def _below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
