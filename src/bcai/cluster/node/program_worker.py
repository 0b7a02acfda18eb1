"""Runs one verified Program in a process of its own: `python -m ... FOLDER MEMORY_BYTES`.

The folder holds `project/<entry>` (canonical bytes) and perhaps `data/inputs.safetensors`; outputs
are left in `outputs/<n>.safetensors`. What happens is told on stdout, one JSON object a line:
`{"kind": "started"}`, `{"kind": "progress", "fraction": 0.5}`, and at the end `{"kind": "done",
"outputs": [...]}` or `{"kind": "failed", "cause": ..., "message": ..., "hint": ...}`.

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
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify

INPUTS = "inputs.safetensors"
OUTPUTS = "outputs"
PROGRESS_EVERY_S = 0.25
ROOM_BYTES = 512 * MIB  # for Python and NumPy themselves


def main() -> None:
    """Run the program that the arguments name."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    folder, entry, memory_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    most = memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        _tell(kind="done", outputs=_run(folder, entry, memory_bytes))
    except BcaiError as error:
        _tell(kind="failed", cause=Cause.EXCEPTION, message=str(error), hint=error.hint)
    except MemoryError:
        message = f"the program needs more than {format_size(memory_bytes)} of memory"
        hint = "ask for more with limits.memory"
        _tell(kind="failed", cause=Cause.MEMORY, message=message, hint=hint)


def _run(folder: Path, entry: str, memory_bytes: int) -> list[dict[str, Any]]:
    verified = verify(decode_program((folder / "project" / entry).read_bytes()))
    if verified.bytes_peak > memory_bytes:
        raise MemoryError
    source = folder / "data" / INPUTS
    inputs: dict[str, Array] = load_file(source) if source.is_file() else {}
    _tell(kind="started")
    results = ReferenceInterpreter().run(verified, inputs, _observer(verified))
    (folder / OUTPUTS).mkdir()
    return [
        _leave(folder / OUTPUTS / f"{index}.safetensors", name, array)
        for index, (name, array) in enumerate(results.items())
    ]


def _observer(verified: VerifiedProgram) -> Any:
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
