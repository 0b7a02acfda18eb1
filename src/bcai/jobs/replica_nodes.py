"""Which nodes may take a replica: of one fingerprint all of them, and none that another one has."""

from collections.abc import Sequence

from bcai.base.errors import InputError
from bcai.jobs.fingerprint import difference, fingerprint_of, in_words
from bcai.jobs.node import Fingerprint, Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.replication import Replica
from bcai.jobs.spec import JobSpec

_NAMED_MAX = 3  # in a reason: enough to see the pattern


def nodes_for(spec: JobSpec, replica: Replica, fitting: Sequence[Node]) -> list[Node] | Reason:
    """Return those of the nodes that fit which may take a replica, or why none may.

    While its group is on no machine, only kinds of which there are enough count.
    """
    if replica.fingerprint is None:
        groups = _groups(spec, fitting)
        enough = [node for group in groups for node in group if len(group) >= spec.verify.replicas]
        return enough or _too_few(spec, groups)
    alike = [node for node in fitting if _fingerprint(spec, node) == replica.fingerprint]
    left = [node for node in alike if node.id not in replica.taken]
    return left or _no_more(spec, replica.fingerprint, fitting, alike)


def _groups(spec: JobSpec, nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes by fingerprint, the largest group first; who tells none is alone."""
    found: dict[Fingerprint | str, list[Node]] = {}
    for node in nodes:
        found.setdefault(_fingerprint(spec, node) or node.id, []).append(node)
    return sorted(found.values(), key=lambda group: (-len(group), group[0].id))


def _fingerprint(spec: JobSpec, node: Node) -> Fingerprint | None:
    try:
        return fingerprint_of(spec, node.capabilities)
    except InputError:  # a requirement that does not parse: no node fits then
        return None


def _too_few(spec: JobSpec, groups: Sequence[Sequence[Node]]) -> Reason:
    count = len(groups[0]) if groups else 0
    parts = [f"{_names(group)}: {_told(spec, group[0])}" for group in groups[:_NAMED_MAX]]
    if len(groups) > _NAMED_MAX:
        parts.append(f"and {len(groups) - _NAMED_MAX} other kinds")
    kinds = "" if len(groups) < 2 else f"; of {len(groups)} kinds"
    listed = "; ".join(parts) or "none"
    return Reason(
        ReasonCode.WAITING_REPLICAS,
        f"{spec.verify} needs {spec.verify.replicas} nodes of one fingerprint, and {count} "
        f"{'is' if count == 1 else 'are'} online{kinds} ({listed})",
        _hint(count),
    )


def _hint(count: int) -> str:
    fewer = f"ask for replicated:{count}, or " if count > 1 else ""
    return (
        f"{fewer}start more nodes of one kind: the same packages, Python, processor and number of "
        "cores ('bcai up --nodes 3' runs three on this machine)"
    )


def _no_more(
    spec: JobSpec, wanted: Fingerprint, fitting: Sequence[Node], alike: Sequence[Node]
) -> Reason:
    others = [node for node in fitting if node not in alike]
    parts = [f"{_names(alike)} did it already, or does" if alike else ""]
    parts += [
        f"{node.name} differs in {difference(wanted, _fingerprint(spec, node) or ())}"
        for node in others[:_NAMED_MAX]
    ]
    online = "; ".join(part for part in parts if part) or "none that fits"
    return Reason(
        ReasonCode.WAITING_REPLICAS,
        f"needs another node of its group's fingerprint ({in_words(wanted)}); online: {online}",
        "start one more node of this kind",
    )


def _names(nodes: Sequence[Node]) -> str:
    more = len(nodes) - _NAMED_MAX
    names = ", ".join(node.name for node in nodes[:_NAMED_MAX])
    return f"{names} and {more} more" if more > 0 else names


def _told(spec: JobSpec, node: Node) -> str:
    fingerprint = _fingerprint(spec, node)
    return "tells no fingerprint" if fingerprint is None else in_words(fingerprint)
