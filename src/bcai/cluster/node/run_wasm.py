"""Runs a WebAssembly module as a job: in a process of its own, within the job's limits."""

import json
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

from bcai.bridge.sandbox.jail import Cause, JailExit, JailRequest, OnEvent
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.wasm.abi import FUEL_PER_SECOND
from bcai.bridge.wasm.ending import ModuleLimits
from bcai.cluster.node.worker_process import Worker, run_worker

GRACE_S = 2.0  # the module is stopped at its limit; its worker then says how far it came
PLAN = "plan.json"
CACHE = "wasm-cache"
_NO_MEMORY = "memory allocation of"  # the last words of a compiler that got none

LAYERS = (
    "WebAssembly: no system call, no file, no network, no clock",
    "process of its own",
    "memory limit",
    "fuel limit",
)


def launch_wasm(
    request: JailRequest, on_event: OnEvent, cancelled: threading.Event, *, fuel: int | None
) -> JailExit:
    """Run the module in `request.entry`; blocks until its process has ended."""
    folder, limits = request.project.parent, request.limits
    in_force = ModuleLimits(
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        log_bytes=limits.log_bytes,
        fuel=fuel or max(1, int(limits.wall_s * FUEL_PER_SECOND)),
        wall_s=limits.wall_s,
    )
    plan = {
        "entry": request.entry,
        "arguments": request.arguments,
        "limits": asdict(in_force),
        "deadline": time.monotonic() + limits.wall_s,
        "cache": str(_cache_of(folder)),
    }
    (folder / PLAN).write_text(json.dumps(plan))
    report = JailReport("wasm", LAYERS, asdict(in_force))
    command = (sys.executable, "-P", "-m", "bcai.cluster.node.wasm_worker", str(folder))
    worker = Worker("module", command, report, GRACE_S)
    ended = run_worker(worker, request, on_event, cancelled)
    if ended.cause is Cause.JAIL_ERROR and _NO_MEMORY in ended.message:
        # A module that takes the compiler's memory would do so again on every other node.
        message = "the module could not be compiled within the job's memory"
        hint = "send a smaller module, or ask for more with limits.memory"
        return replace(ended, cause=Cause.MEMORY, message=message, hint=hint)
    return ended


def _cache_of(folder: Path) -> Path:
    """Beside the attempts' folders: only the node's own processes write there."""
    return folder.parent / CACHE
