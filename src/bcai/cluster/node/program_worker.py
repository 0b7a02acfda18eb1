"""Runs one verified Program in a process of its own.

Called as `python -m ... FOLDER ENTRY MEMORY_BYTES BACKEND THREADS`; 0 threads: one a processor.

The folder holds `project/<entry>` (canonical bytes) and perhaps `data/inputs.safetensors`; outputs
are left in `outputs/<n>.safetensors`. What happens is told on stdout, one JSON object a line:
`{"kind": "started", "backend": "native", "device": ...}`, `{"kind": "progress", "fraction": 0.5}`,
and at the end `{"kind": "done", "outputs": [...]}` or `{"kind": "failed", "cause": ..., "message":
..., "hint": ...}`.

No code of the user's runs here: a Program is data, and the verifier has bounded what it can do. The
code of a `PythonExecute` runs in the node's jail; see `ask_node.py`.
"""

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.bridge.code_of_program import code_of_program
from bcai.cluster.node.ask_node import NodePython
from bcai.cluster.node.evidence_shelf import RECEIPT, keep_job
from bcai.cluster.node.receipts import ReceiptPlan, leave_receipt
from bcai.cluster.node.verified_worker import refuse_beyond, used_so_far, within_limits
from bcai.cluster.node.worker_messages import INPUTS, OUTPUTS, leave_output, tell
from bcai.proof.recorder import Recorder
from bcai.proof.single_run import single_run
from bcai.vm.backends.reference.backend import ReferenceExecutable
from bcai.vm.compiler.backend import Executable, Observer
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify
from bcai.vm.runtime.choose_backend import Choice, choose_backend

PROGRESS_EVERY_S = 0.25


def main() -> None:
    """Run the program that the arguments name."""
    folder, entry, memory_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    wish, threads = sys.argv[4], int(sys.argv[5]) or None
    with within_limits(memory_bytes):
        choice = choose_backend(wish, threads=threads)
        outputs, receipt = _run(folder, entry, memory_bytes, choice)
        tell(kind="done", outputs=outputs, receipt=receipt, used=used_so_far())


def _run(
    folder: Path, entry: str, memory_bytes: int, choice: Choice
) -> tuple[list[dict[str, Any]], str]:
    started_at = time.monotonic()
    verified = verify(decode_program((folder / "project" / entry).read_bytes()))
    refuse_beyond(memory_bytes, verified.bytes_peak)
    wishes = python_wishes(verified)
    python = NodePython(socket.socket(fileno=0)) if wishes else None
    executable = choice.backend.compile(verified, python=python)
    refuse_beyond(memory_bytes, executable.bytes_peak)
    if python is not None:
        python.admit(wishes, executable.bytes_peak, code_of_program(verified.program))
    source = folder / "data" / INPUTS
    inputs: dict[str, Array] = load_file(source) if source.is_file() else {}
    tell(kind="started", backend=choice.backend.name, device=choice.backend.device)
    results = _results(executable, verified, inputs)
    (folder / OUTPUTS).mkdir()
    left = [
        leave_output(folder / OUTPUTS / f"{index}.safetensors", name, array)
        for index, (name, array) in enumerate(results.items())
    ]
    wall_s = time.monotonic() - started_at
    return left, _sign(folder, verified, inputs, results, choice, wall_s, python)


def _sign(
    folder: Path,
    verified: VerifiedProgram,
    inputs: Mapping[str, Array],
    results: Mapping[str, Array],
    choice: Choice,
    wall_s: float,
    python: NodePython | None,
) -> str:
    """Sign for a run of one step; its parameters are the state."""
    single = single_run(verified, inputs)
    names = {port.name for port in verified.program.parameters}
    state = single.state | {name: array for name, array in results.items() if name in names}
    outputs = {name: array for name, array in results.items() if name not in names}
    recorder = Recorder(single.run)
    recorder.record(1, state, outputs)
    name = leave_receipt(
        folder,
        single.run,
        verified,
        recorder,
        state=state,
        outputs=outputs,
        choice=choice,
        wall_s=wall_s,
        python=python,
    )
    evidence, source = ReceiptPlan.read(folder).evidence, folder / "data" / INPUTS
    if evidence is not None:
        files = {RECEIPT: folder / OUTPUTS / name, INPUTS: source}
        keep_job(evidence, {place: file for place, file in files.items() if file.is_file()})
    return name


def python_wishes(verified: VerifiedProgram) -> list[tuple[str, bool]]:
    """What the Python code of a program asks for, each pair of sandbox and GPU once."""
    found = [each.attributes for each in verified.program.instructions if each.op is python_execute]
    return sorted({(str(each["sandbox"]), bool(each["gpu"])) for each in found})


def _results(
    executable: Executable, verified: VerifiedProgram, inputs: dict[str, Array]
) -> dict[str, Array]:
    """Run in one go; the definition, which is slow, tells how far it is."""
    if isinstance(executable, ReferenceExecutable):
        return executable.run_traced(inputs, _observer(verified))
    return executable.run(inputs)


def _observer(verified: VerifiedProgram) -> Observer:
    count = max(1, len(verified.program.instructions))
    told_at = time.monotonic()

    def observe(position: int, results: tuple[Array, ...]) -> None:
        nonlocal told_at
        del results
        if time.monotonic() - told_at > PROGRESS_EVERY_S:
            told_at = time.monotonic()
            tell(kind="progress", fraction=(position + 1) / count)

    return observe


if __name__ == "__main__":
    main()
