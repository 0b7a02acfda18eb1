"""Runs a training job: in a process of its own, within the job's limits, with its trace."""

import sys
import threading
from pathlib import Path

from bcai.bridge.sandbox.jail import JailExit, JailRequest, OnEvent
from bcai.cluster.node.run_program import report_of
from bcai.cluster.node.worker_process import Worker, run_worker
from bcai.settings import EnhancedVmSettings


def launch_training(
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    *,
    settings: EnhancedVmSettings,
    kept: Path,
) -> JailExit:
    """Run the training in `request.project`; blocks until its process has ended.

    `kept` is the node's folder for runs that were broken off.
    """
    command = (
        *(sys.executable, "-P", "-m", "bcai.cluster.node.training_worker"),
        *(str(request.project.parent), str(request.limits.memory_bytes)),
        *(settings.hardware_backend, str(settings.threads or 0), str(kept)),
    )
    worker = Worker("training", command, report_of(request.limits))
    return run_worker(worker, request, on_event, cancelled)
