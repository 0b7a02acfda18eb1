"""Runs a Program as a job: in a process of its own, within the job's limits, with its outputs."""

import sys
import threading
from collections.abc import Callable

from bcai.bridge.inspect.finding import Audit
from bcai.bridge.sandbox.jail import JailExit, JailLimits, JailRequest, OnEvent
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.cluster.node.ask_node import VERIFIED
from bcai.cluster.node.program_python import ProgramPython
from bcai.cluster.node.worker_process import Worker, run_worker
from bcai.settings import Settings

REPORT = JailReport(
    level="program",
    layers=(VERIFIED, "process of its own", "memory limit"),
)


def launch_program(
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    *,
    settings: Settings,
    zygotes: ZygotePool,
    trusts: bool,
    on_audit: Callable[[Audit], None],
) -> JailExit:
    """Run the Program in `request.entry`; blocks until its process has ended.

    Parameters
    ----------
    trusts
        Its Python code may ask for `sandbox="trusted"`.
    on_audit
        Is told what was found in its Python code, if it has some.

    Raises
    ------
    RefusedError
        It holds Python code that asks for what this node does not have.
    """
    machine = settings.enhanced_vm
    command = (
        *(sys.executable, "-P", "-m", "bcai.cluster.node.program_worker"),
        *(str(request.project.parent), request.entry, str(request.limits.memory_bytes)),
        *(machine.hardware_backend, str(machine.threads or 0)),
    )
    python = ProgramPython(request, on_event, cancelled, zygotes, settings, trusts, on_audit)
    worker = Worker("program", command, report_of(request.limits), asks=python)
    return run_worker(worker, request, on_event, cancelled)


def report_of(limits: JailLimits) -> JailReport:
    """What stands around a verified Program."""
    in_force = {"wall_s": limits.wall_s, "memory_bytes": limits.memory_bytes}
    return JailReport(REPORT.level, REPORT.layers, in_force)
