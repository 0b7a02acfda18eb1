"""Several nodes do one job, each for itself, and their answers are compared: a pure state machine.

The job asks for `replicas` nodes of one fingerprint. Each ends with a `Ballot`; the job ends with
the last of them. More than half, and two at least, have to say the same: then the result is theirs,
and it is SETTLED, with whoever says otherwise named. If not, one further node is asked where it
could decide; else the result is DISPUTED. Nobody is punished on it: bits of Python code are not
defined.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bcai.base.units import format_count
from bcai.jobs.ballot import Ballot
from bcai.jobs.node import Fingerprint
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import Settlement, SettlementState
from bcai.jobs.verify import Verify

SEEDS_HINT = (
    "set every seed (random.seed(0), numpy.random.seed(0), torch.manual_seed(0)), call "
    "torch.use_deterministic_algorithms(True), and keep times, paths and the order of sets out of "
    "the outputs; what is printed is not compared"
)
_NAMED_MAX = 5  # outputs in one sentence
_SEPARATOR = "-"


@dataclass(frozen=True, slots=True)
class Replica:
    """What a job is to the others of its group.

    Attributes
    ----------
    order
        Id of the job that was submitted: the first replica.
    number
        From 1; above the number that was asked for, it is the further node.
    fingerprint
        That of the group; None until its first replica is assigned.
    taken
        Ids of the nodes that others of the group are on, or were.
    """

    order: str
    number: int
    fingerprint: Fingerprint | None = None
    taken: tuple[str, ...] = ()


class Next(StrEnum):
    """What follows on a ballot."""

    WAIT = "wait"  # for other replicas
    ASK = "ask"  # one further node
    END = "end"  # the job has its result


def replica_id(order: str, number: int) -> str:
    """The job id under which a node runs a replica; the first one has the job's own."""
    return order if number == 1 else f"{order}{_SEPARATOR}{number}"


def order_of(job_id: str) -> str:
    """The job that was submitted, of which this is a replica, or which it is."""
    return job_id.partition(_SEPARATOR)[0]


def begin(verify: Verify, at: float) -> Settlement:
    """A group none of whose nodes has answered."""
    return Settlement(
        SettlementState.COMMITTED, verify, "", "", "", at, at, "", asked=verify.replicas
    )


def count(settlement: Settlement, ballot: Ballot, at: float) -> tuple[Settlement, Next]:
    """Take a replica's end.

    A ballot that comes twice counts once; one that is signed with the key of another is none.
    """
    if any(each.number == ballot.number for each in settlement.replicas):
        return settlement, Next.WAIT
    twin = next(
        (each for each in settlement.replicas if ballot.key and each.key == ballot.key), None
    )
    if twin is not None:
        text = f"it signs with the key of {twin.node_name}: they are one node"
        ballot = Ballot(ballot.number, ballot.node_id, ballot.node_name, text=text)
    ballots = tuple(sorted((*settlement.replicas, ballot), key=lambda each: each.number))
    settlement = replace(settlement, replicas=ballots, at=at)
    if len(ballots) < settlement.asked:
        done = f"{len(ballots)} of {format_count(settlement.asked, 'node')}"
        text = f"{done} answered: {', '.join(each.node_name for each in ballots)}"
        return replace(settlement, text=text), Next.WAIT
    agreeing = agreement(ballots)
    if agreeing:
        return _settled(settlement, agreeing), Next.END
    if settlement.asked == settlement.verify.replicas and _could_decide(ballots):
        text = f"{_disagreement(ballots)}; one further node decides"
        return replace(settlement, text=text, asked=settlement.asked + 1), Next.ASK
    return _disputed(settlement), Next.END


def agreement(ballots: Sequence[Ballot]) -> tuple[Ballot, ...]:
    """Those who say the same, if they are two at least and more than half of all; else nobody."""
    most, size = _most(ballots)
    if size < 2 or 2 * size <= len(ballots):
        return ()
    return tuple(each for each in ballots if each.answer == most)


def chosen(settlement: Settlement) -> int:
    """Number of the replica whose outcome is the job's, once a group has ended."""
    ballots = settlement.replicas
    said = [each for each in ballots if each.answer]
    return next(iter([*agreement(ballots), *said, *ballots])).number


def told(settlement: Settlement, outcome: Outcome) -> Outcome:
    """The job's outcome: that of the chosen replica, with what is to say about the others."""
    remarks: list[str] = []
    if settlement.state is SettlementState.DISPUTED:
        everyone_differs = _most(settlement.replicas)[1] < 2
        remarks.append(
            f"{settlement.text}. The outputs are those of {settlement.node_name} alone"
            + (f"; if the job is not the same each time, {SEEDS_HINT}" if everyone_differs else "")
        )
    elif len(agreement(settlement.replicas)) < len(settlement.replicas):
        remarks.append(settlement.text)
    first = settlement.replicas[0]
    if first.answer and first.number != chosen(settlement):
        remarks.append(f"the log and the metrics are those of {first.node_name}")
    return replace(outcome, warnings=(*outcome.warnings, *remarks))


def differing(one: Ballot, other: Ballot) -> tuple[str, ...]:
    """Names of the outputs that only one of two has, or that differ."""
    first, second = dict(one.outputs), dict(other.outputs)
    return tuple(name for name in sorted({*first, *second}) if first.get(name) != second.get(name))


def _most(ballots: Sequence[Ballot]) -> tuple[str, int]:
    """The answer that most give, and how many do; of equals the first."""
    said = Counter(each.answer for each in ballots if each.answer)
    return said.most_common(1)[0] if said else ("", 0)


def _could_decide(ballots: Sequence[Ballot]) -> bool:
    """Whether one more node could make those who say the same more than half of all."""
    size = _most(ballots)[1]
    return size > 0 and 2 * (size + 1) > len(ballots) + 1


def _settled(settlement: Settlement, agreeing: Sequence[Ballot]) -> Settlement:
    ballots, first = settlement.replicas, agreeing[0]
    names = ", ".join(each.node_name for each in agreeing)
    share = f"{len(agreeing)} of " if len(agreeing) < len(ballots) else ""
    parts = [f"{share}{format_count(len(ballots), 'node')} agree: {names}"]
    parts += [_otherwise(each, first) for each in ballots if each not in agreeing]
    return _ended(settlement, SettlementState.SETTLED, "; ".join(parts))


def _disputed(settlement: Settlement) -> Settlement:
    return _ended(settlement, SettlementState.DISPUTED, _disagreement(settlement.replicas))


def _ended(settlement: Settlement, state: SettlementState, text: str) -> Settlement:
    shown = next(each for each in settlement.replicas if each.number == chosen(settlement))
    return replace(
        settlement, state=state, text=text, node_id=shown.node_id, node_name=shown.node_name
    )


def _disagreement(ballots: Sequence[Ballot]) -> str:
    """Say that too few agree, and in what they differ."""
    said = [each for each in ballots if each.answer]
    silent = [_otherwise(each, each) for each in ballots if not each.answer]
    if not said:
        return "; ".join(["no node answered", *silent])
    names = dict.fromkeys(name for each in said[1:] for name in differing(said[0], each))
    how = len({each.text for each in said}) > 1 and not names
    what = "how it ended" if how else _listed(tuple(names))
    who = ", ".join(each.node_name for each in said)
    if len(said) == 1:
        return "; ".join([f"only {who} answered", *silent])
    same = [name for name, _ in said[0].outputs if name not in names]
    rest = f" (the same everywhere: {_listed(same)})" if same else ""
    return "; ".join([f"{who} do not agree on {what}{rest}", *silent])


def _otherwise(ballot: Ballot, other: Ballot) -> str:
    """Say of a node what sets it apart."""
    who = f"{ballot.node_name} ({ballot.node_id})" if ballot.node_id else ballot.node_name
    if not ballot.answer:
        return f"{who} gave no answer: {ballot.text}"
    names = differing(other, ballot)
    return f"{who} differs in {_listed(names)}" if names else f"{who}: {ballot.text}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_MAX])
    more = len(names) - _NAMED_MAX
    return f"{shown} and {more} more" if more > 0 else shown or "how it ended"
