"""Which node gets a job, as a pure function.

Note [A job that waits for room]
    Jobs are looked at in the order in which they came, and a small one may pass a large one that
    has no room yet, or a node would stand half empty. Without more, a stream of small jobs would
    keep out a large one for ever. So the first job in line that has waited for `PATIENCE_S` keeps
    room on one node: what it asks for counts as taken there, and what is behind it may use only
    what it leaves. The node is the first by id of those that it fits, so that each round and each
    scheduler names the same. What runs there ends within its time limit, and nothing new is in the
    way: so the first in line waits for that limit at most, beyond its patience, and job number n of
    the line n times as long.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bcai.base.errors import InputError
from bcai.jobs.claim import Shortage, asked_by, claim_on, in_words, room_of, shortage
from bcai.jobs.job import Job
from bcai.jobs.node import NOTHING, Claim, Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.placement import misfit
from bcai.jobs.replica_nodes import nodes_for

NODES_NAMED_MAX = 3  # in a reason: enough to see the pattern
PATIENCE_S = 120.0  # longer than most small jobs, shorter than a person's
UNBOUNDED = 1 << 62  # more than any job can ask for, and less than what databases hold


@dataclass(frozen=True, slots=True)
class _Kept:
    """Room that is kept for the first job in line."""

    job_id: str
    node_id: str
    claim: Claim
    waits_for: str


class Floor:
    """The nodes that are online, and what is taken of each in this round."""

    def __init__(self, nodes: Sequence[Node], *, gpu_fallback: bool, now: float) -> None:
        self._online = [node for node in nodes if node.online]
        self._offline = [node for node in nodes if not node.online]
        self._taken = {node.id: node.taken for node in self._online}
        self._kept: _Kept | None = None
        self._gpu_fallback = gpu_fallback
        self._now = now

    @property
    def has_room(self) -> bool:
        """Whether any node could take one more job, if a small one."""
        return any(
            min(free.slots, free.cores, free.memory_bytes) > 0
            for free in map(self._free, self._online)
        )

    @property
    def room(self) -> Claim:
        """What asks for more in any respect has room nowhere; what asks for less may have none."""
        free = [self._free(node) for node in self._online]
        return Claim(
            _most(self._memory_bytes_max(node) for node in self._online),
            _most(each.cores for each in free),
            UNBOUNDED if self._gpu_fallback else _most(each.gpus for each in free),
            _most(each.slots for each in free),
        )

    def take(self, job: Job, node: Node) -> None:
        """Count a job onto a node."""
        self._taken[node.id] += _claim(job, node)

    def choose(self, job: Job) -> Node | Reason:
        """Return the node that shall run a job, or why none can take it now.

        A node where an earlier attempt ended comes last; among the others the emptiest wins. See
        Note [A job that waits for room] for when none has room.
        """
        if not self._online:
            return self._no_node()
        misfits = {node.id: self._misfit(job, node) for node in self._online}
        fitting = [node for node in self._online if misfits[node.id] is None]
        if not fitting:
            return self._no_fit([(node, misfits[node.id]) for node in self._online])
        if job.replica is not None:
            found = nodes_for(job.spec, job.replica, fitting)
            if isinstance(found, Reason):
                return found
            fitting = found
        short = {node.id: self._shortage(job, node) for node in fitting}
        roomy = [node for node in fitting if not short[node.id]]
        if not roomy:
            return self._no_room(job, fitting, short)
        tried = {attempt.node_id for attempt in job.attempts}

        def rank(node: Node) -> tuple[bool, int, int, str]:
            free = self._free(node)
            return node.id in tried, -free.slots, -free.memory_bytes, node.id

        return min(roomy, key=rank)

    def _free(self, node: Node) -> Claim:
        return room_of(node.capabilities) - self._taken[node.id]

    def _memory_bytes_max(self, node: Node) -> int:
        """What a job may ask for: any limit, where what a node lowers it to is free."""
        free = self._free(node).memory_bytes
        lowered = claim_on(Claim(UNBOUNDED), node.capabilities).memory_bytes
        return UNBOUNDED if lowered <= free else free

    def _shortage(self, job: Job, node: Node, back: Claim = NOTHING) -> Shortage:
        return shortage(job.spec, node.capabilities, self._taken[node.id] - back)

    def _misfit(self, job: Job, node: Node) -> Reason | None:
        try:
            return misfit(job.spec, node.capabilities, gpu_fallback=self._gpu_fallback)
        except InputError as error:  # stored by a gateway that knew less: nothing may stop here
            return Reason(ReasonCode.REQUIREMENTS, str(error), error.hint)

    def _no_node(self) -> Reason:
        names = ", ".join(node.name for node in self._offline[:NODES_NAMED_MAX])
        known = f"; known, but away: {names}" if names else ""
        return Reason(
            ReasonCode.WAITING_NO_NODE,
            f"no node is online{known}",
            "start one: 'bcai up' runs a network with a node on this machine",
        )

    def _no_fit(self, misfits: Sequence[tuple[Node, Reason | None]]) -> Reason:
        reasons = [(node.name, reason) for node, reason in misfits if reason is not None]
        lines = [f"{name}: {reason.message}" for name, reason in reasons[:NODES_NAMED_MAX]]
        if len(reasons) > NODES_NAMED_MAX:
            lines.append(f"and {len(reasons) - NODES_NAMED_MAX} more")
        return Reason(
            ReasonCode.WAITING_CAPACITY,
            "no node that is online fits; " + "; ".join(lines),
            reasons[0][1].hint,
        )

    def _no_room(self, job: Job, fitting: Sequence[Node], short: Mapping[str, Shortage]) -> Reason:
        """Say what a job waits for; keep room for it if it is the first that has waited long."""
        kept = self._kept
        if kept is not None:
            node = next((each for each in fitting if each.id == kept.node_id), None)
            if node is not None and not self._shortage(job, node, kept.claim):
                return Reason(
                    ReasonCode.WAITING_CAPACITY,
                    f"waits behind {kept.job_id}, which came first and waits for {kept.waits_for}",
                )
        told = _told(fitting, short)
        if kept is None and self._now - job.created_at >= PATIENCE_S:
            node = min(fitting, key=lambda each: each.id)
            waits_for = in_words(short[node.id].asked)
            kept = self._kept = _Kept(job.id, node.id, _claim(job, node), waits_for)
            self._taken[node.id] += kept.claim
            told += f"; {node.name} keeps what becomes free for it"
        return Reason(ReasonCode.WAITING_CAPACITY, told, _hint(job, short))


def _most(counts: Iterable[int]) -> int:
    """The largest, whatever nodes say of themselves."""
    return min(max(counts, default=0), UNBOUNDED)


def _claim(job: Job, node: Node) -> Claim:
    return claim_on(asked_by(job.spec), node.capabilities)


def _told(nodes: Sequence[Node], short: Mapping[str, Shortage]) -> str:
    """Say what is short, on the node that is nearest to having it."""
    if all(short[node.id].asked.slots for node in nodes):
        slots = sum(node.capabilities.slots for node in nodes)
        busy = "its slot is busy" if slots == 1 else f"all {slots} slots are busy"
        could = "one node" if len(nodes) == 1 else f"{len(nodes)} nodes"
        return f"{could} could run it; {busy}"

    def distance(node: Node) -> tuple[int, int, int, int, str]:
        gap = short[node.id].asked - short[node.id].free
        return gap.slots, gap.gpus, gap.cores, gap.memory_bytes, node.id

    node = min(nodes, key=distance)
    of = f", the nearest of {len(nodes)} nodes that could run it," if len(nodes) > 1 else ""
    nearest = short[node.id]
    free = in_words(nearest.free) if nearest.free != NOTHING else "none"
    return f"waits for {in_words(nearest.asked)}; {node.name}{of} has {free} free"


def _hint(job: Job, short: Mapping[str, Shortage]) -> str:
    if job.spec.hardware.memory_bytes or not all(
        each.asked.memory_bytes for each in short.values()
    ):
        return ""
    return (
        "it named no memory and so asks for the default; a job that needs less starts sooner if it "
        "says so with limits.memory (bcai run --memory 1GiB)"
    )
