"""Which node gets a job, as a pure function."""

from collections.abc import Sequence

from bcai.base.errors import InputError
from bcai.jobs.job import Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.placement import misfit
from bcai.jobs.replica_nodes import nodes_for

NODES_NAMED_MAX = 3  # in a reason: enough to see the pattern


class Floor:
    """The nodes that are online and how many slots each has left in this round."""

    def __init__(self, nodes: Sequence[Node], *, gpu_fallback: bool) -> None:
        self._online = [node for node in nodes if node.online]
        self._offline = [node for node in nodes if not node.online]
        self._free = {
            node.id: max(node.capabilities.slots - len(node.running), 0) for node in self._online
        }
        self._gpu_fallback = gpu_fallback

    @property
    def has_room(self) -> bool:
        """Whether any node could take one more job."""
        return any(self._free.values())

    def take(self, node: Node) -> None:
        """Count a job onto a node."""
        self._free[node.id] -= 1

    def choose(self, job: Job) -> Node | Reason:
        """Return the node that shall run a job, or why none can take it now.

        A node where an earlier attempt ended comes last; among the others the emptiest wins.
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
        free = [node for node in fitting if self._free[node.id]]
        if not free:
            slots = sum(node.capabilities.slots for node in fitting)
            busy = "its slot is" if slots == 1 else f"all {slots} slots are"
            nodes = "one node" if len(fitting) == 1 else f"{len(fitting)} nodes"
            return Reason(ReasonCode.WAITING_CAPACITY, f"{nodes} could run it; {busy} busy")
        tried = {attempt.node_id for attempt in job.attempts}
        return min(free, key=lambda node: (node.id in tried, -self._free[node.id], node.id))

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
