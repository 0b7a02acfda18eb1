"""Whether a job may enter the queue: what can never run here is refused now, with the reason."""

import itertools
import secrets
import time
from collections.abc import Sequence

from bcai.base.errors import InputError, NoJailError, RefusedError
from bcai.base.units import format_count, format_size
from bcai.cluster.gateway.limits import NODES_CACHE_S
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.jobs.node import Capabilities, Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.placement import gpu_misfit, misfit
from bcai.jobs.requirements import parse_requirement
from bcai.jobs.sign_spec import check_signature, sign_spec
from bcai.jobs.signature import SignedBy
from bcai.jobs.spec import JobSpec
from bcai.proof.keys import SigningKey

NO_LEDGER = "no ledger on this network: nothing will be paid"
NO_GPU = "no GPU on this network: running on the CPU"
_NODES_NAMED_MAX = 3


class NodeCache:
    """The online nodes, read from the store once in a while."""

    def __init__(self, store: JobStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._nodes: list[Node] = []
        self._stale_at = 0.0

    async def online(self) -> list[Node]:
        """Return the nodes that were seen within a lease."""
        if time.monotonic() >= self._stale_at:
            nodes = await self._store.nodes(online_within_s=self._lease_s)
            self._nodes = [node for node in nodes if node.online]
            self._stale_at = time.monotonic() + NODES_CACHE_S
        return self._nodes

    def forget(self) -> None:
        """Read anew at the next call: a node has arrived."""
        self._stale_at = 0.0


async def check_files(spec: JobSpec, blobs: BlobStore) -> None:
    """Refuse a job whose files are not here.

    Raises
    ------
    InputError
        A file was not uploaded, or has another size.
    """
    for file in spec.files:
        size = await blobs.size(file.digest)
        if size is None:
            raise InputError(
                f"file {file.path!r}: its content {file.digest} was not uploaded",
                hint=f"upload it first: PUT /v1/blobs/{file.digest}",
            )
        if size != file.size:
            raise InputError(f"file {file.path!r}: size is {size} bytes, the job says {file.size}")


def judge(
    spec: JobSpec, online: Sequence[Node], *, gpu_fallback: bool, nodes_max: int | None = None
) -> tuple[str, ...]:
    """Return the warnings that a job gets. With no node online it waits, and is accepted.

    So does one that more nodes of one kind are to do than are online, since they may yet come.

    Parameters
    ----------
    nodes_max
        As many nodes there will ever be; None: more may join.

    Raises
    ------
    InputError
        A requirement does not parse.
    RefusedError
        Nodes are online, and none of them can ever run the job; or more are to do it than there
        will ever be.
    """
    for text in spec.requirements:
        parse_requirement(text)
    misfits: list[tuple[Node, Reason]] = []
    for node in online:
        reason = misfit(spec, node.capabilities, gpu_fallback=gpu_fallback)
        if reason is not None:
            misfits.append((node, reason))
    if online and len(misfits) == len(online):
        raise _refusal(misfits)
    replicas = spec.verify.replicas
    if nodes_max is not None and replicas > nodes_max:
        raise RefusedError(
            f"{spec.verify} needs {replicas} nodes of one fingerprint, and this network has "
            f"{nodes_max} and never more",
            hint=f"'bcai up --nodes {replicas}' runs one with {replicas} on this machine",
        )
    warnings: list[str] = []
    if gpu_fallback and spec.hardware.gpu_count and not _any_gpu(spec, online):
        warnings.append(NO_GPU)
    if spec.reward_tokens:
        warnings.append(NO_LEDGER)
    return tuple(warnings)


def signed(spec: JobSpec, key: SigningKey) -> JobSpec:
    """Check a job's signature; sign in the gateway's name what has none.

    Raises
    ------
    InputError
        The signature does not hold.
    """
    if spec.signature is not None:
        check_signature(spec, time.time())
        return spec
    nonce = secrets.token_hex(16)
    return sign_spec(spec, key, nonce=nonce, now=time.time(), by=SignedBy.GATEWAY)


def _any_gpu(spec: JobSpec, nodes: Sequence[Node]) -> bool:
    """Whether some node has the GPUs that the job asks for."""
    return any(gpu_misfit(spec, node.capabilities) is None for node in nodes)


def _refusal(misfits: Sequence[tuple[Node, Reason]]) -> RefusedError:
    """Say what is missing, node by node, and what the nodes offer."""
    named = misfits[:_NODES_NAMED_MAX]
    reasons = "; ".join(f"{node.name}: {reason.message}" for node, reason in named)
    rest = len(misfits) - len(named)
    more = f"; and {rest} more" if rest else ""
    clauses = [reason.hint.split("; ") for _, reason in named if reason.hint]
    hint = "; ".join(dict.fromkeys(itertools.chain.from_iterable(clauses)))
    if all(reason.code is ReasonCode.NO_JAIL for _, reason in misfits):
        return NoJailError(
            f"no node can jail the job, so it was not accepted ({reasons}{more})",
            hint=hint,
        )
    offers = "; ".join(f"{node.name} has {_offer(node.capabilities)}" for node, _ in named)
    return RefusedError(
        f"no node of this network can run the job ({reasons}{more}); on offer: {offers}",
        hint=hint,
    )


def _offer(capabilities: Capabilities) -> str:
    """What a node offers, in a few words."""
    gpus = [f"{gpu.name} ({format_size(gpu.memory_bytes)})" for gpu in capabilities.gpus]
    return (
        f"{format_count(capabilities.cpu_count, 'CPU core')}, "
        f"{format_size(capabilities.memory_bytes)} of memory, "
        f"{', '.join(gpus) or 'no GPU'}, Python {capabilities.python}"
    )
