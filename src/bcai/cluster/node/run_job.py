"""One attempt of a job, step by step."""

import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from bcai.base.digest import digest_of
from bcai.base.errors import (
    BcaiError,
    DependencyError,
    InputError,
    NoJailError,
    NotFoundError,
    RefusedError,
    ResourceError,
)
from bcai.bridge.inspect.finding import Audit
from bcai.bridge.python_execute import Launch
from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.bridge.sandbox.jail import JailEvent, JailExit, JailLimits
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.cluster.node.attempt import Attempt
from bcai.cluster.node.cache import BlobCache
from bcai.cluster.node.capture_session import CaptureSession, launch_captured
from bcai.cluster.node.environment_folders import held
from bcai.cluster.node.environments import NodeEnvironment
from bcai.cluster.node.evidence_shelf import EVIDENCE
from bcai.cluster.node.folders import remove_tree
from bcai.cluster.node.gpus import GpuPool
from bcai.cluster.node.inputs import DATA, PROJECT, build_folders
from bcai.cluster.node.inspection import inspect_job, refused_code
from bcai.cluster.node.jail_request import request_of
from bcai.cluster.node.limits import cap_limits, gpu_warnings
from bcai.cluster.node.outcome import (
    cancelled_early,
    cancelled_late,
    failed_here,
    outcome_of,
    refused,
    too_large,
)
from bcai.cluster.node.outputs import check_values, upload_outputs
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.reports import body_of
from bcai.cluster.node.run_program import REPORT, launch_program
from bcai.cluster.node.run_python import launch_python
from bcai.cluster.node.run_training import launch_training
from bcai.cluster.node.run_wasm import launch_wasm
from bcai.cluster.node.script_training import ScriptTrainer
from bcai.cluster.node.sign_word import with_word
from bcai.cluster.node.signatures import SignatureGate
from bcai.cluster.node.transfer import BlobTransfer
from bcai.jobs.jail_misfit import is_trusted
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode
from bcai.jobs.placement import environment_of, misfit
from bcai.jobs.replication import order_of
from bcai.jobs.spec import JobKind, JobSpec, SecurityLevel
from bcai.proof.keys import read_key
from bcai.settings import PythonConstraints, Settings

KEY_FILE = "node.pem"
TRAINING = "training"
CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Workbench:
    """What every job on this node shares."""

    settings: Settings
    capabilities: Capabilities
    cache: BlobCache
    transfer: BlobTransfer
    slots: anyio.Semaphore
    threads: anyio.CapacityLimiter  # one per slot; the shared pool must not starve a jail
    folder: Path  # each attempt has its own folder inside, gone when it ends
    zygotes: ZygotePool
    environments: Mapping[str, NodeEnvironment]  # by name
    signatures: SignatureGate
    gpus: GpuPool = field(default_factory=GpuPool)

    def stocked(self, environments: Mapping[str, NodeEnvironment]) -> "Workbench":
        """The same with other environments, which it offers."""
        offers = tuple(each.offer for each in environments.values())
        capabilities = replace(self.capabilities, environments=offers)
        return replace(self, capabilities=capabilities, environments=environments)


async def run_job(attempt: Attempt, bench: Workbench) -> Outcome:
    """Run one attempt: these are the steps of a job on a node, in order."""
    spec = attempt.spec
    try:
        # 1. Refuse what nobody signed, and what this node cannot do.
        reason = _unsigned(attempt, bench) or _unfit(attempt, bench)
        if reason is not None:
            return refused(reason)
        environment = _environment(spec, bench)
        limits, warnings = cap_limits(
            spec.limits, bench.settings.enhanced_vm, bench.capabilities.memory_bytes
        )
        slot = _slot(attempt, bench.slots, environment)
        async with _gpus(attempt, bench.gpus) as gpus, slot, _own_folder(bench.folder) as folder:
            limits = replace(limits, gpu_count=len(gpus))
            warnings += gpu_warnings(spec.hardware, bench.capabilities.gpus, len(gpus))
            # 2. Fetch its files and build its folders.
            with attempt.interruptible():
                await build_folders(spec, folder, bench.cache)
            if attempt.cancelled.is_set():
                return cancelled_early()

            # 3. Read its code: what is certain to fail is not started.
            owner = bench.settings.enhanced_vm.python_constraints
            audits = await _read_code(spec, folder, bench, environment)
            refusal = _refused_code(audits, attempt, owner)
            if refusal is not None:
                return refusal

            # 4. Run it: Python in the jail, the rest beside it. Its output flows to the outbox.
            def report(event: JailEvent) -> None:
                attempt.outbox.put(body_of(event, time.time()))

            request = request_of(spec, attempt.owner, folder, limits, owner, environment)
            request = replace(request, gpus=gpus)
            run = _runner(attempt, bench, folder, limits, audits.append)
            ended = await anyio.to_thread.run_sync(
                run, request, report, attempt.cancelled, limiter=bench.threads
            )
            refusal = _refused_code(audits, attempt, owner)  # a program's process has read its own
            if refusal is not None:
                return refusal

            # 5. Upload what it leaves; a gateway that is away is waited for.
            outcome = replace(
                outcome_of(ended, (), warnings=warnings),
                audit=next(iter(audits), None),
                environment=environment and environment.ran_in,
            )
            excess = check_values(ended.outputs)
            if excess is not None:
                return _signed(too_large(outcome, excess), attempt, bench)
            left = await _upload(ended, attempt, bench.transfer)
            if left is None:
                return cancelled_late(outcome)

            # 6. Say how it ended, and sign for it where it is Python.
            outputs, receipt = left
            return _signed(replace(outcome, outputs=outputs, receipt=receipt), attempt, bench)
    except (DependencyError, NotFoundError, RefusedError, OSError, ResourceError) as error:
        return _failed(error)


def _failed(error: BcaiError | OSError) -> Outcome:
    """End an attempt that could not be run, or not to its end."""
    if isinstance(error, DependencyError | NotFoundError):
        return failed_here(ReasonCode.INPUT_UNAVAILABLE, str(error))
    if isinstance(error, RefusedError):
        is_jail = isinstance(error, NoJailError)
        code = ReasonCode.NO_JAIL if is_jail else ReasonCode.REQUIREMENTS
        return refused(Reason(code, str(error), error.hint))
    return failed_here(ReasonCode.NODE_ERROR, f"the node failed: {error}")  # a full disk, say


def _runner(
    attempt: Attempt,
    bench: Workbench,
    folder: Path,
    limits: JailLimits,
    on_audit: Callable[[Audit], None],
) -> Launch:
    """What runs a job of this kind."""
    spec, settings = attempt.spec, bench.settings
    if spec.kind is JobKind.WASM:
        return partial(launch_wasm, fuel=spec.limits.fuel)
    evidence = settings.node_folder / EVIDENCE if settings.node.evidence_mb else None
    plan = ReceiptPlan.of(attempt.job_id, spec, settings.node_folder / KEY_FILE, REPORT, evidence)
    kept = settings.node_folder / "runs"
    if spec.kind is JobKind.PYTHON:
        machine = settings.enhanced_vm
        trainer = ScriptTrainer(folder / TRAINING, limits, plan, machine, kept)
        level_max = settings.node.jail_level_max
        if spec.capture:
            session = CaptureSession(folder / CAPTURE, limits, plan, machine)
            return partial(launch_captured, session, zygotes=bench.zygotes, level_max=level_max)
        return partial(launch_python, zygotes=bench.zygotes, level_max=level_max, trainer=trainer)
    plan.write(folder)
    if spec.kind is JobKind.PROGRAM:
        trusts = is_trusted(spec, bench.capabilities.trusted_keys)
        return partial(
            launch_program,
            settings=settings,
            zygotes=bench.zygotes,
            trusts=trusts,
            on_audit=on_audit,
        )
    return partial(launch_training, settings=settings.enhanced_vm, kept=kept)


def _signed(outcome: Outcome, attempt: Attempt, bench: Workbench) -> Outcome:
    key = read_key(bench.settings.node_folder / KEY_FILE)
    capabilities = bench.capabilities
    return with_word(outcome, attempt.job_id, attempt.spec, capabilities, key, time.time())


async def _upload(
    ended: JailExit, attempt: Attempt, transfer: BlobTransfer
) -> tuple[tuple[Output, ...], str | None] | None:
    """Upload outputs and receipt; None if the attempt was cancelled meanwhile."""
    with attempt.interruptible():
        outputs = await upload_outputs(ended.outputs, transfer)
        if ended.receipt is None:
            return outputs, None
        digest = digest_of(ended.receipt)
        await transfer.upload(digest, ended.receipt)
        return outputs, digest
    return None


@asynccontextmanager
async def _gpus(attempt: Attempt, pool: GpuPool) -> AsyncGenerator[tuple[GpuDevice, ...], None]:
    """Wait for the job's GPUs; before its slot, which others can use meanwhile."""
    lent: tuple[GpuDevice, ...] = ()
    async with AsyncExitStack() as stack:
        with attempt.interruptible():
            lent = await stack.enter_async_context(pool.lend(attempt.spec.hardware))
        yield lent


@asynccontextmanager
async def _slot(
    attempt: Attempt, slots: anyio.Semaphore, environment: NodeEnvironment | None
) -> AsyncGenerator[None, None]:
    """Wait for a slot: what had it and is lost may not have ended yet. The environment stays."""
    acquired = False
    try:
        with held(environment):
            with attempt.interruptible():
                await slots.acquire()
                acquired = True
            yield
    finally:
        if acquired:
            slots.release()


@asynccontextmanager
async def _own_folder(work: Path) -> AsyncGenerator[Path, None]:
    folder = Path(tempfile.mkdtemp(dir=work))
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove_tree, folder)


def _unsigned(attempt: Attempt, bench: Workbench) -> Reason | None:
    try:
        bench.signatures.admit(attempt.spec, order_of(attempt.job_id), time.time())
    except InputError as error:
        return Reason(ReasonCode.SIGNATURE, str(error), error.hint)
    return None


def _unfit(attempt: Attempt, bench: Workbench) -> Reason | None:
    fallback = bench.settings.gpu_fallback
    try:
        return misfit(attempt.spec, bench.capabilities, gpu_fallback=fallback)
    except InputError as error:  # the gateway lets no such job in; we need not trust it
        return Reason(ReasonCode.REQUIREMENTS, str(error), error.hint)


def _environment(spec: JobSpec, bench: Workbench) -> NodeEnvironment | None:
    """Return the Python that a job gets, now that it is known to fit; None for other kinds."""
    if spec.kind is not JobKind.PYTHON:
        return None
    found = environment_of(spec, bench.capabilities)
    return None if isinstance(found, Reason) else bench.environments[found.name]


async def _read_code(
    spec: JobSpec, folder: Path, bench: Workbench, environment: NodeEnvironment | None
) -> list[Audit]:
    """What was found; that of a program's code comes when its process has read the program."""
    if environment is None:
        return []
    owner = bench.settings.enhanced_vm.python_constraints
    read = partial(
        inspect_job,
        folder / PROJECT,
        folder / DATA,
        spec.entry or spec.code_name,
        owner,
        environment.modules,
        programs=spec.security_level is not SecurityLevel.HIGH,
    )
    return [await anyio.to_thread.run_sync(read, limiter=bench.threads)]


def _refused_code(
    audits: Sequence[Audit], attempt: Attempt, owner: PythonConstraints
) -> Outcome | None:
    trusted = attempt.spec.security_level is SecurityLevel.TRUSTED
    found = (refused_code(audit, owner, trusted=trusted) for audit in audits)
    return next((refusal for refusal in found if refusal is not None), None)
