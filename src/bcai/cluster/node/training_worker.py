"""Runs a training job in a process of its own.

Called as `python -m ... FOLDER MEMORY_BYTES BACKEND THREADS KEPT`; 0 threads: one a processor.

The folder holds `project` and `data` with the files that `jobs/training.py` names. Outputs are left
and events told as by `program_worker`, with the loss as metrics. How far the run is, with its state
and its trace, is kept in the folder `KEPT` from time to time: if this process or the whole machine
dies, the next attempt goes on from there, to the same bits.
"""

import math
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save,
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import InputError
from bcai.base.units import MIB
from bcai.cluster.node.keep_training import computed_before, keep_training
from bcai.cluster.node.kept_run import KeptRun, Progress
from bcai.cluster.node.receipts import RECEIPT, ReceiptPlan, leave_receipt
from bcai.cluster.node.verified_worker import refuse_beyond, used_so_far, within_limits
from bcai.cluster.node.worker_messages import OUTPUTS, tell
from bcai.jobs.training import (
    CHECKPOINTS,
    ENTRY,
    FINAL_STATE,
    HISTORY,
    ROWS,
    RUN,
    STATE,
)
from bcai.proof.data import Data
from bcai.proof.execute import begin, check_state, execute
from bcai.proof.feed import Feeder
from bcai.proof.recorder import Recorder, fixed_parameters
from bcai.proof.run import Run, decode_run
from bcai.proof.trace_file import decode_trace
from bcai.vm.isa.types import Array
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify
from bcai.vm.runtime.choose_backend import Choice, choose_backend

TELL_EVERY_S = 0.1
KEEP_EVERY_S = 15.0
LARGE_STATE_BYTES = 4 * MIB


def main() -> None:
    """Run the training that the arguments name."""
    folder, memory_bytes = Path(sys.argv[1]), int(sys.argv[2])
    wish, threads, kept = sys.argv[3], int(sys.argv[4]) or None, Path(sys.argv[5])
    with within_limits(memory_bytes):
        choice = choose_backend(wish, threads=threads)
        outputs, receipt = _train(folder, memory_bytes, choice, kept)
        tell(kind="done", outputs=outputs, receipt=receipt, used=used_so_far())


def _train(
    folder: Path, memory_bytes: int, choice: Choice, kept_folder: Path
) -> tuple[list[dict[str, Any]], str]:
    started_at = time.monotonic()
    project, data = folder / "project", folder / "data"
    program = verify(decode_program((project / ENTRY).read_bytes()))
    run = decode_run((project / RUN).read_bytes())
    rows = Data(load_file(data / ROWS))
    feeder = Feeder(run, program, rows)
    plan = ReceiptPlan.read(folder)
    before = computed_before(plan, program, run, folder / OUTPUTS)
    if before is not None:
        tell(kind="started", backend=choice.backend.name, device=choice.backend.device)
        return _outputs(before.state, before.history), RECEIPT
    kept = KeptRun(kept_folder, run)
    progress = kept.read(program) or _first(project, data, run, program)
    is_large = sum(each.nbytes for each in progress.state.values()) >= LARGE_STATE_BYTES
    held = sum(each.nbytes for each in rows.columns.values())
    executable = choice.backend.compile(program)
    refuse_beyond(memory_bytes, held + executable.bytes_peak)
    tell(kind="started", backend=choice.backend.name, device=choice.backend.device)
    with ThreadPoolExecutor(1) as hashing:
        recorder = Recorder(
            run,
            fixed=fixed_parameters(program),
            prefix=progress.checkpoints,
            executor=hashing if is_large else None,  # a small state is hashed before a thread wakes
        )
        history = _History(run.steps, progress)
        teller = _Teller(run.steps, kept)
        state: Mapping[str, Array] = progress.state
        last: Mapping[str, Array] = {}
        for step in execute(feeder, program, executable, state, start=progress.step):
            state = step.state
            history.add(step.done, step.outputs)
            is_whole = recorder.record(step.done, state, step.outputs) is not None
            teller.tell(step.done, state, history, recorder if is_whole else None)
            last = step.outputs
        outputs = _leave(folder / OUTPUTS, state, history)
        receipt = leave_receipt(
            folder,
            run,
            program,
            recorder,
            state=state,
            outputs=last,
            choice=choice,
            wall_s=time.monotonic() - started_at,
        )
    keep_training(plan, folder, kept.states())
    kept.remove()
    return outputs, receipt


def _first(project: Path, data: Path, run: Run, program: VerifiedProgram) -> Progress:
    """Where to start: at the run's first step, or after the checkpoints that came along."""
    state: dict[str, Array] = load_file(data / STATE)
    checkpoints = project / CHECKPOINTS
    if not checkpoints.is_file():
        return Progress(begin(run, program, state))
    trace = decode_trace(checkpoints.read_bytes())
    if not trace.checkpoints:
        raise InputError("checkpoints: found none; a run that starts brings no such file")
    return Progress(check_state(program, state, trace.final_state), trace.checkpoints)


class _History:
    """What the steps put out besides the state, step by step."""

    def __init__(self, steps: int, progress: Progress) -> None:
        self._steps, self._first = steps, progress.step
        self._earlier = progress.history
        self._found: dict[str, Array] = {}
        self.done = progress.step
        self.is_sound = True

    def add(self, done: int, outputs: Mapping[str, Array]) -> None:
        """Take one step's outputs; what is no scalar is in the trace alone."""
        self.done = done
        for name, value in outputs.items():
            if value.ndim:
                continue
            if name not in self._found:
                self._found[name] = self._begin(name, value)
            self._found[name][done - 1 - self._start(name)] = value
            self.is_sound = self.is_sound and math.isfinite(value)

    def last(self) -> dict[str, float]:
        """Each value of the last step."""
        return {
            name: float(values[self.done - 1 - self._start(name)])
            for name, values in self._found.items()
        }

    def arrays(self) -> dict[str, Array]:
        """All values so far, by name: one element for each step that is known."""
        return {
            name: values[: self.done - self._start(name)] for name, values in self._found.items()
        }

    def _begin(self, name: str, value: Array) -> Array:
        values = np.zeros(self._steps - self._start(name), value.dtype)
        earlier = self._earlier.get(name)
        if earlier is not None:
            values[: len(earlier)] = earlier
        return values

    def _start(self, name: str) -> int:
        """The step of the first element: a run that was continued may not know the earlier ones."""
        return self._first - len(self._earlier.get(name, ()))


class _Teller:
    """Tells how far the run is, and keeps it, both at their pace."""

    def __init__(self, steps: int, kept: KeptRun) -> None:
        self._steps, self._kept = steps, kept
        self._is_sound = True  # the first value that is not finite is told at once
        self._told_at = self._kept_at = time.monotonic()

    def tell(
        self, done: int, state: Mapping[str, Array], history: _History, recorder: Recorder | None
    ) -> None:
        """Take note of a step. `recorder`: the trace is whole up to here, or nearly."""
        now = time.monotonic()
        is_due = now - self._told_at >= TELL_EVERY_S or done == self._steps
        if is_due or (self._is_sound and not history.is_sound):
            self._told_at, self._is_sound = now, history.is_sound
            tell(kind="metric", step=done - 1, values=history.last())
            tell(kind="progress", fraction=done / self._steps)
        if recorder is None or now - self._kept_at < KEEP_EVERY_S or done == self._steps:
            return
        checkpoints = recorder.checkpoints
        if checkpoints[-1].step == done:
            self._kept_at = now
            self._kept.write(Progress(state, checkpoints, history.arrays()))


def _leave(folder: Path, state: Mapping[str, Array], history: _History) -> list[dict[str, Any]]:
    folder.mkdir()
    arrays = history.arrays()
    save_file(dict(state), folder / STATE)
    (folder / HISTORY).write_bytes(save(arrays))
    return _outputs(state, arrays)


def _outputs(state: Mapping[str, Array], history: Mapping[str, Array]) -> list[dict[str, Any]]:
    tensors = "tensor" if len(state) == 1 else "tensors"
    steps = max((len(each) for each in history.values()), default=0)
    return [
        _output(FINAL_STATE, "state_dict", STATE, f"{len(state)} {tensors}"),
        _output(HISTORY, "state_dict", HISTORY, f"{', '.join(history)} of {steps} steps"),
    ]


def _output(name: str, kind: str, file: str, summary: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "file": file, "summary": summary}


if __name__ == "__main__":
    main()
