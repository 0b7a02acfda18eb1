"""Runs one WebAssembly module in a process of its own; called as `python -m ... FOLDER`.

The folder holds `plan.json` (see `run_wasm`), `project/<entry>` and perhaps
`data/inputs.safetensors`; outputs are left in `outputs/<n>.safetensors`. What happens is told on
stdout, as `worker_process` describes. The module is compiled and checked before `started`.
"""

import json
import platform
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import BcaiError
from bcai.base.units import MIB, format_size
from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.wasm.ending import EndedError, ModuleLimits
from bcai.bridge.wasm.engine import backend_name, compile_module, new_engine
from bcai.bridge.wasm.host import Stream
from bcai.bridge.wasm.run import Finished, run_module
from bcai.bridge.wasm.walls import put_up_walls
from bcai.cluster.node.worker_messages import INPUTS, OUTPUTS, leave_output, tell
from bcai.vm.isa.types import Array

ROOM_BYTES = 1024 * MIB  # for Python, NumPy, the compiler, and threads' stacks
COPIES = 3  # of inputs and outputs at once: as loaded, as bytes, as written
TEXT_BYTES_MAX = 8192  # kept back at most, until the line ends


def main() -> None:
    """Run the module that the plan names."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    limits = ModuleLimits(**plan["limits"])
    try:
        _run(folder, plan, limits)
    except EndedError as error:
        tell(kind="failed", cause=error.cause, message=error.message, hint=error.hint)
    except (BcaiError, SafetensorError) as error:
        message = f"the inputs cannot be read: {error}"
        tell(kind="failed", cause=Cause.EXCEPTION, message=message, hint="")
    except MemoryError:
        message = f"the job needs more than {format_size(limits.memory_bytes)} of memory"
        hint = "ask for more with limits.memory"
        tell(kind="failed", cause=Cause.MEMORY, message=message, hint=hint)


def _run(folder: Path, plan: dict[str, Any], limits: ModuleLimits) -> None:
    source = folder / "data" / INPUTS
    input_bytes = source.stat().st_size if source.is_file() else 0
    _limit_memory(limits, input_bytes)
    cache = Path(plan["cache"])
    cache.mkdir(parents=True, exist_ok=True)
    walls = put_up_walls((folder, cache))
    engine = new_engine(cache)
    module = compile_module(engine, (folder / "project" / plan["entry"]).read_bytes())
    inputs: dict[str, Array] = load_file(source) if input_bytes else {}
    (folder / OUTPUTS).mkdir()
    outputs: list[dict[str, Any]] = []

    def leave(name: str, array: Array) -> None:
        path = folder / OUTPUTS / f"{len(outputs)}.safetensors"
        outputs.append(leave_output(path, name, array))

    tell(kind="started", backend=backend_name(), device=platform.machine(), layers=walls)
    text = _Text()
    finished = run_module(
        engine,
        module,
        inputs,
        plan["arguments"],
        limits,
        left_s=plan["deadline"] - time.monotonic(),
        on_text=text.add,
        on_output=leave,
    )
    text.flush()
    _tell_end(finished, outputs)


def _limit_memory(limits: ModuleLimits, input_bytes: int) -> None:
    """Bound what this process takes, whatever the engine would let through."""
    most = limits.memory_bytes + ROOM_BYTES + COPIES * (input_bytes + limits.output_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Text:
    """Gathers text into lines, so that a message is not a letter."""

    def __init__(self) -> None:
        self._stream: Stream = "stdout"
        self._text = ""

    def add(self, stream: Stream, text: str) -> None:
        if stream != self._stream:
            self.flush()
        self._stream, self._text = stream, self._text + text
        if "\n" in text or len(self._text) > TEXT_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        text, self._text = self._text, ""
        for at in range(0, len(text), TEXT_BYTES_MAX):
            tell(kind="log", stream=self._stream, text=text[at : at + TEXT_BYTES_MAX])


def _tell_end(finished: Finished, outputs: list[dict[str, Any]]) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_bytes_peak": finished.use.memory_bytes,
        "log_bytes": finished.use.log_bytes,
        "fuel": finished.use.fuel,
    }
    ended = finished.ended
    if ended is not None:
        tell(kind="failed", cause=ended.cause, message=ended.message, hint=ended.hint, used=used)
        return
    tell(kind="done", outputs=outputs, exit_status=finished.exit_status, used=used)


if __name__ == "__main__":
    main()
