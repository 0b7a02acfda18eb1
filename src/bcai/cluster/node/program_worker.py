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

import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import BcaiError
from bcai.base.units import MIB, format_size
from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.jail import Cause
from bcai.cluster.node.ask_node import NodePython
from bcai.cluster.node.worker_messages import INPUTS, OUTPUTS, leave_output, tell
from bcai.vm.backends.reference.backend import ReferenceExecutable
from bcai.vm.compiler.backend import Executable, Observer
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.isa.types import Array
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify
from bcai.vm.runtime.choose_backend import Choice, choose_backend, local_backends

PROGRESS_EVERY_S = 0.25
ROOM_BYTES = 1024 * MIB  # for Python, NumPy, the compiler, and threads' stacks


class _BeyondLimitError(Exception):
    """The program would need that much memory; it has not run."""


def main() -> None:
    """Run the program that the arguments name."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    folder, entry, memory_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    wish, threads = sys.argv[4], int(sys.argv[5]) or None
    most = memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        choice = choose_backend(wish, local_backends(threads))
        tell(kind="done", outputs=_run(folder, entry, memory_bytes, choice))
    except BcaiError as error:
        tell(kind="failed", cause=Cause.EXCEPTION, message=str(error), hint=error.hint)
    except (_BeyondLimitError, MemoryError) as error:
        needs = str(error) if isinstance(error, _BeyondLimitError) else "more"
        message = f"the program needs {needs} of memory; its limit is {format_size(memory_bytes)}"
        hint = "ask for more with limits.memory"
        tell(kind="failed", cause=Cause.MEMORY, message=message, hint=hint)


def _run(folder: Path, entry: str, memory_bytes: int, choice: Choice) -> list[dict[str, Any]]:
    verified = verify(decode_program((folder / "project" / entry).read_bytes()))
    _refuse_beyond(memory_bytes, verified.bytes_peak)
    wishes = python_wishes(verified)
    python = NodePython(socket.socket(fileno=0)) if wishes else None
    executable = choice.backend.compile(verified, python=python)
    _refuse_beyond(memory_bytes, executable.bytes_peak)
    if python is not None:
        python.admit(wishes, executable.bytes_peak)
    source = folder / "data" / INPUTS
    inputs: dict[str, Array] = load_file(source) if source.is_file() else {}
    tell(kind="started", backend=choice.backend.name, device=choice.backend.device)
    results = _results(executable, verified, inputs)
    (folder / OUTPUTS).mkdir()
    return [
        leave_output(folder / OUTPUTS / f"{index}.safetensors", name, array)
        for index, (name, array) in enumerate(results.items())
    ]


def python_wishes(verified: VerifiedProgram) -> list[tuple[str, bool]]:
    """What the Python code of a program asks for, each pair of sandbox and GPU once."""
    found = [each.attributes for each in verified.program.instructions if each.op is python_execute]
    return sorted({(str(each["sandbox"]), bool(each["gpu"])) for each in found})


def _refuse_beyond(memory_bytes: int, needed: int) -> None:
    if needed > memory_bytes:
        raise _BeyondLimitError(format_size(needed))


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
