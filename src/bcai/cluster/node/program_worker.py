"""Runs one verified Program in a process of its own.

Called as `python -m ... FOLDER ENTRY MEMORY_BYTES BACKEND THREADS`; 0 threads: one a processor.

The folder holds `project/<entry>` (canonical bytes) and perhaps `data/inputs.safetensors`; outputs
are left in `outputs/<n>.safetensors`. What happens is told on stdout, one JSON object a line:
`{"kind": "started", "backend": "native", "device": ...}`, `{"kind": "progress", "fraction": 0.5}`,
and at the end `{"kind": "done", "outputs": [...]}` or `{"kind": "failed", "cause": ..., "message":
..., "hint": ...}`.

No code of the user's runs here: a Program is data, and the verifier has bounded what it can do.
"""

import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import BcaiError
from bcai.base.units import MIB, format_size
from bcai.base.values import encode_value
from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.jail import Cause
from bcai.vm.backends.reference.backend import ReferenceExecutable
from bcai.vm.compiler.backend import Executable, Observer
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify
from bcai.vm.runtime.choose_backend import Choice, choose_backend, local_backends

INPUTS = "inputs.safetensors"
OUTPUTS = "outputs"
PROGRESS_EVERY_S = 0.25
ROOM_BYTES = 1024 * MIB  # for Python, NumPy, the compiler, and threads' stacks


def main() -> None:
    """Run the program that the arguments name."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    folder, entry, memory_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    wish, threads = sys.argv[4], int(sys.argv[5]) or None
    most = memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        choice = choose_backend(wish, local_backends(threads))
        _tell(kind="done", outputs=_run(folder, entry, memory_bytes, choice))
    except BcaiError as error:
        _tell(kind="failed", cause=Cause.EXCEPTION, message=str(error), hint=error.hint)
    except MemoryError:
        message = f"the program needs more than {format_size(memory_bytes)} of memory"
        hint = "ask for more with limits.memory"
        _tell(kind="failed", cause=Cause.MEMORY, message=message, hint=hint)


def _run(folder: Path, entry: str, memory_bytes: int, choice: Choice) -> list[dict[str, Any]]:
    verified = verify(decode_program((folder / "project" / entry).read_bytes()))
    if verified.bytes_peak > memory_bytes:
        raise MemoryError
    executable = choice.backend.compile(verified)
    if executable.bytes_peak > memory_bytes:
        raise MemoryError
    source = folder / "data" / INPUTS
    inputs: dict[str, Array] = load_file(source) if source.is_file() else {}
    _tell(kind="started", backend=choice.backend.name, device=choice.backend.device)
    results = _results(executable, verified, inputs)
    (folder / OUTPUTS).mkdir()
    return [
        _leave(folder / OUTPUTS / f"{index}.safetensors", name, array)
        for index, (name, array) in enumerate(results.items())
    ]


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
            _tell(kind="progress", fraction=(position + 1) / count)

    return observe


def _leave(path: Path, name: str, array: Array) -> dict[str, Any]:
    """Write an output, or give it as a value if it is a scalar."""
    summary = str(TensorType.of(array))
    if array.ndim == 0:
        return {"name": name, "value": encode_value(array.item()), "summary": summary}
    save_file({"value": np.ascontiguousarray(array)}, path)
    return {"name": name, "file": path.name, "summary": summary}


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
