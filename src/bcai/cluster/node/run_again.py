"""Runs a captured job's script once more, in a jail of this machine: a challenger does.

What the node says of it counts for nothing here: the spec and its files are the client's.
"""

import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path

import anyio

from bcai.base.errors import RefusedError, ResourceError
from bcai.bridge.sandbox.jail import JailRequest
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool
from bcai.cluster.node.audit_capture import RanAgain
from bcai.cluster.node.cache import BlobCache, Download
from bcai.cluster.node.capabilities import measure_capabilities
from bcai.cluster.node.capture_session import CaptureSession, launch_captured
from bcai.cluster.node.capture_worker import GIVEN_FILE
from bcai.cluster.node.environment_folders import held
from bcai.cluster.node.environment_shelf import first_look
from bcai.cluster.node.folders import remove_tree
from bcai.cluster.node.inputs import build_folders
from bcai.cluster.node.jail_request import request_of
from bcai.cluster.node.limits import cap_limits
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.run_program import REPORT
from bcai.cluster.node.worker_messages import OUTPUTS
from bcai.jobs.environment import RanIn
from bcai.jobs.outcome import Reason
from bcai.jobs.placement import environment_of, misfit
from bcai.jobs.spec import JobSpec
from bcai.proof.capture_receipt import decode_capture
from bcai.proof.keys import own_key
from bcai.proof.tensors import load_tensors
from bcai.settings import Settings

_TENANT = "challenger"
_KEY_FILE = "key.pem"  # signs a receipt that nobody is shown


def run_again(
    job_id: str, spec: JobSpec, blobs: Mapping[str, bytes], settings: Settings
) -> RanAgain:
    """Run the script captured; blocks until nothing of it is left.

    Raises
    ------
    RefusedError
        This machine lacks what the job asks for, such as a jail or its packages.
    ResourceError
        It ended otherwise than with a receipt.
    """
    shelf = first_look(settings.node_folder)
    offers = [each.offer for each in shelf.environments.values()]
    capabilities = measure_capabilities(settings, offers)
    found = misfit(spec, capabilities, gpu_fallback=True) or environment_of(spec, capabilities)
    if isinstance(found, Reason):
        raise RefusedError(
            f"this machine cannot run the job again: {found.message}", hint=found.hint
        )
    environment = shelf.environments[found.name]
    limits, _ = cap_limits(spec.limits, settings.enhanced_vm, capabilities.memory_bytes)
    limits = replace(limits, gpu_count=0)  # what is captured runs on this side
    folder = Path(tempfile.mkdtemp(prefix="bcai-again-"))
    try:
        work = folder / "work"
        cache = BlobCache(folder / "cache", _reader(blobs), bytes_max=0)
        anyio.run(build_folders, spec, work, cache)
        own_key(folder / _KEY_FILE, os.urandom)
        plan = ReceiptPlan.of(job_id, spec, folder / _KEY_FILE, REPORT)
        session = CaptureSession(folder / "capture", limits, plan, settings.enhanced_vm)
        owner = settings.enhanced_vm.python_constraints
        request = request_of(spec, _TENANT, work, limits, owner, environment)
        with held(environment):
            return _launched(session, request, settings.node.jail_level_max, environment.ran_in)
    finally:
        remove_tree(folder)


def _launched(
    session: CaptureSession, request: JailRequest, level_max: str, ran_in: RanIn
) -> RanAgain:
    zygotes = ZygotePool(ZygotePolicy(zygotes_max=0))  # it runs once
    try:
        ended = launch_captured(
            session,
            request,
            lambda event: None,
            threading.Event(),
            zygotes=zygotes,
            level_max=level_max,
        )
    finally:
        zygotes.close()
    if ended.receipt is None:
        why = ended.message or ended.cause.value
        raise ResourceError(f"run again, the script did not come to its end here: {why}")
    given = session.folder / OUTPUTS / GIVEN_FILE
    return RanAgain(decode_capture(ended.receipt), load_tensors(given.read_bytes()), ran_in)


def _reader(blobs: Mapping[str, bytes]) -> Download:
    """Gives the files of a job, which are at hand."""

    async def read(digest: str) -> AsyncGenerator[bytes, None]:
        yield blobs[digest]

    return read
