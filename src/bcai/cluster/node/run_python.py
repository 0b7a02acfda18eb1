"""Runs a job of Python in the jail, with the tensors that it is given."""

import threading
from contextlib import ExitStack
from dataclasses import replace

from bcai.base.errors import FormatError
from bcai.bridge.sandbox.capture_asked import Capturer
from bcai.bridge.sandbox.inputs import sealed_copy
from bcai.bridge.sandbox.jail import Cause, JailExit, JailRequest, OnEvent
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.cluster.node.inputs import INPUT
from bcai.cluster.node.script_training import ScriptTrainer
from bcai.jobs.spec import INPUTS_NAME

TRAINED_BESIDE = "its training ran outside the jail: a verified program, in a process of its own"


def launch_python(
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    *,
    zygotes: ZygotePool,
    level_max: str,
    trainer: ScriptTrainer | None = None,
    capturer: Capturer | None = None,
) -> JailExit:
    """Run the job; blocks until nothing of it is left.

    Parameters
    ----------
    level_max
        The strongest jail that the node's owner lets it build.
    trainer
        Does the training that the script may ask for.
    capturer
        Executes the tensor operations of a script that is captured.
    """
    path = request.project.parent / INPUT / INPUTS_NAME
    with ExitStack() as stack:
        if path.is_file():
            try:
                copy = sealed_copy(str(path), request.limits.memory_bytes)
                request = replace(request, inputs=stack.enter_context(copy))
            except FormatError as error:
                message, hint = f"inputs: {error}", "send what the SDK or safetensors writes"
                return JailExit(Cause.EXCEPTION, message, probe_jail(level_max), hint=hint)
        ended = launch(
            request,
            on_event,
            cancelled,
            zygotes=zygotes,
            level_max=level_max,
            trainer=trainer,
            capturer=capturer,
        )
    if trainer is None or trainer.used is None:
        return ended
    used = trainer.used
    ended = replace(
        ended,
        cpu_s=ended.cpu_s + used.cpu_s,
        memory_bytes_peak=max(ended.memory_bytes_peak, used.memory_bytes_peak),
    )
    if trainer.receipt is None:
        return ended
    jail = replace(ended.jail, layers=(*ended.jail.layers, TRAINED_BESIDE))
    return replace(ended, jail=jail, receipt=trainer.receipt)
