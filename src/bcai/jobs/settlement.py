"""Whether a result is taken for true, beside the job's own state.

A job that asked for a check is COMMITTED once its node has handed in a result. A lot decides
whether it is audited; if not, it is SETTLED at once. An audit ends in SETTLED or DISPUTED, and
nothing follows on that. `step` is the whole machine; the store writes down what it says. A job that
several nodes do is settled by what they say alone: replication.py.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from blake3 import blake3

from bcai.base.errors import ConflictError
from bcai.jobs.ballot import Ballot
from bcai.jobs.dispute import Party, Ruling
from bcai.jobs.verify import Policy, Verify

_LOTS = 1 << 64
APPEAL_S = 7 * 24 * 3600.0
"""A result may be disputed for so long since it was handed in, SETTLED or not: much less than a
node keeps its evidence for, or it could not defend itself."""
VOUCHERS_MAX = 16


class SettlementState(StrEnum):
    """Where a result stands."""

    COMMITTED = "COMMITTED"  # handed in; an audit is due
    SETTLED = "SETTLED"  # not audited, or the audit agreed
    DISPUTED = "DISPUTED"  # the audit found something else


@dataclass(frozen=True, slots=True)
class Lie:
    """What a node said that is not so.

    Attributes
    ----------
    code
        Its stable name, such as `replay.differs`.
    checkpoint, steps
        The first wrong checkpoint and the steps that it is over, where a replay found it.
    """

    code: str
    message: str
    checkpoint: int | None = None
    steps: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Voucher:
    """Who did a job again and found the same.

    Attributes
    ----------
    by
        Name of its API key.
    key
        The key that it signs with.
    agreement
        What it signed, for anyone to check: proof/agreement.py.
    """

    by: str
    key: str
    at: float
    agreement: str


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit is over; `by` did it, and `lie` is what it found, if anything.

    Without a lie it `agrees`, with a `voucher`, or something came out otherwise for which nobody
    can be blamed.
    """

    at: float
    by: str
    lie: Lie | None = None
    remark: str = ""
    agrees: bool = True
    voucher: Voucher | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where one result stands. Times are Unix seconds.

    Attributes
    ----------
    salt
        What the lot was drawn with, in hexadecimal digits; random, and made only once the node's
        receipt was in, so that no node can know whether it will be audited. With `drawn` anyone
        can draw the same lot again.
    text
        What happened, in words.
    by
        Who settled or disputed it; empty: the lot.
    node_id, node_name
        Whose result it is: who is accused where it is DISPUTED.
    replicas
        Of a job that several nodes do: what each of them said, by the replica's number.
    asked
        How many nodes those are.
    node_key
        The key that this node signs with, as it was bound to its id when the result came in.
    dispute
        How the last dispute about it ended, whoever lost.
    vouchers
        Who did it again and found the same. Where the node lied, they signed for that lie.
    """

    state: SettlementState
    verify: Verify
    salt: str
    node_id: str
    node_name: str
    committed_at: float
    at: float
    text: str
    by: str = ""
    lie: Lie | None = None
    replicas: tuple[Ballot, ...] = ()
    asked: int = 0
    node_key: str = ""
    dispute: Ruling | None = None
    vouchers: tuple[Voucher, ...] = ()


def is_drawn(job_id: str, receipt: str, salt: str, rate: float) -> bool:
    """Whether a job is audited. Of many jobs the share `rate` is."""
    lot = blake3(f"bcai-audit\0{salt}\0{job_id}\0{receipt}".encode()).digest()[:8]
    return int.from_bytes(lot, "big") < rate * _LOTS


def commit(
    verify: Verify,
    *,
    job_id: str,
    receipt: str | None,
    salt: str,
    node_id: str,
    node_name: str,
    at: float,
    node_key: str = "",
) -> Settlement:
    """The first settlement of a result; without a receipt there is nothing that could be checked.

    `receipt` is the digest of what the node signed.
    """
    first = Settlement(
        SettlementState.COMMITTED, verify, salt, node_id, node_name, at, at, "waits for its audit",
        node_key=node_key,
    )  # fmt: skip
    if receipt is None:
        lie = Lie("receipt.missing", "the node left no receipt, which every such job leaves")
        return replace(first, state=SettlementState.DISPUTED, text=lie.message, lie=lie)
    if not is_drawn(job_id, receipt, salt, verify.rate):
        text = "not drawn for an audit"
        return replace(first, state=SettlementState.SETTLED, text=text)
    return first


def step(settlement: Settlement, message: Audited) -> Settlement:
    """Take an audit's end.

    The same verdict once more changes nothing: a challenger may have to send it twice. More may
    vouch for what is SETTLED.

    Raises
    ------
    ConflictError
        It has been settled or disputed otherwise, or is no challenger's to settle.
    """
    if settlement.verify.policy is Policy.REPLICATED:
        raise ConflictError("the result is settled by the nodes that do the job, not by an audit")
    lie = message.lie
    is_right = lie is None and message.agrees
    state = SettlementState.SETTLED if is_right else SettlementState.DISPUTED
    vouchers = _with(settlement.vouchers, message.voucher)
    if settlement.state is not SettlementState.COMMITTED:
        if settlement.state is state and message.voucher is not None:
            return _vouched(replace(settlement, vouchers=vouchers), message)
        if settlement.state is state and settlement.by == message.by and settlement.lie == lie:
            return settlement
        raise ConflictError(
            f"the result is {settlement.state} since {settlement.by or 'its commitment'}: "
            "no other verdict follows"
        )
    text = message.remark or ("the audit agrees" if message.agrees else "the audit does not agree")
    if lie is not None:
        text = f"{settlement.node_name} ({settlement.node_id}) did not tell the truth: "
        text += lie.message
    done = replace(settlement, state=state, at=message.at, by=message.by, text=text, lie=lie)
    return replace(done, vouchers=vouchers)


def may_be_disputed(settlement: Settlement, at: float) -> bool:
    """Whether a dispute may begin now: while it waits for its audit, and for some days after."""
    is_audited = settlement.verify.policy in (Policy.FULL, Policy.AUDITED)
    is_early = is_audited and at - settlement.committed_at <= APPEAL_S
    return settlement.state is SettlementState.COMMITTED or (_names_nobody(settlement) and is_early)


def rule(settlement: Settlement, ruling: Ruling) -> Settlement:
    """Take the end of a dispute: the node is named, or the challenger is and all stays as it was.

    Whoever has vouched for what is a lie is named beside the node.

    Raises
    ------
    ConflictError
        It has been disputed otherwise.
    """
    had_ended = _names_nobody(settlement)
    if Party.NODE not in ruling.faulty and had_ended:
        return replace(settlement, dispute=ruling)
    if Party.NODE not in ruling.faulty:
        text = f"waits for its audit; {ruling.challenger} disputed it and lost: {ruling.text}"
        return replace(settlement, dispute=ruling, text=text)
    steps = None if ruling.step is None else (ruling.step, ruling.step + 1)
    lie = Lie(ruling.code, ruling.text, ruling.checkpoint, steps)
    if had_ended:
        settlement = replace(settlement, state=SettlementState.COMMITTED)
    found = step(settlement, Audited(ruling.at, ruling.challenger, lie))
    names = ", ".join(each.by for each in settlement.vouchers)
    text = f"{found.text}; vouched for by {names}" if had_ended and names else found.text
    return replace(found, dispute=ruling, text=text)


def _names_nobody(settlement: Settlement) -> bool:
    """Whether a verdict stands that is one challenger's word: a ruling says more."""
    is_disputed = settlement.state is SettlementState.DISPUTED
    return settlement.state is SettlementState.SETTLED or (is_disputed and settlement.lie is None)


def _with(vouchers: tuple[Voucher, ...], new: Voucher | None) -> tuple[Voucher, ...]:
    """One of each key, the first."""
    if new is None or any(each.key == new.key for each in vouchers):
        return vouchers
    return (*vouchers, new)[:VOUCHERS_MAX]


def _vouched(settlement: Settlement, message: Audited) -> Settlement:
    """What was settled by the lot alone is settled by its first audit from now on."""
    if settlement.by:
        return settlement
    return replace(settlement, at=message.at, by=message.by, text=message.remark or settlement.text)
