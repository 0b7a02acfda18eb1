"""Checks a receipt of a Python job: signatures, orders, machines, agreement. Milliseconds, offline.

What this proves: the nodes that are named signed that this came out of that order, on machines that
they call equal, and so many said the same. That each did the work, it does not.
"""

from collections.abc import Iterator, Mapping

from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.base.units import format_count
from bcai.proof.check import Finding, Report, client_findings
from bcai.proof.keys import Domain, is_signed, key_id
from bcai.proof.python_commitment import PythonCommitment, is_python_signed
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import PythonReceipt

CHECKED = ("signatures", "orders", "machines", "agreement")


def check_python_receipt(
    receipt: PythonReceipt,
    *,
    node: bytes | None = None,
    client: bytes | None = None,
    received: Mapping[str, bytes] | None = None,
) -> Report:
    """Hold every part of a receipt against the others.

    Parameters
    ----------
    node, client
        Public keys that must have signed; the node must be among those that agree.
    received
        Hashes of outputs that were received, by name.
    """
    findings = [
        *_check_signatures(receipt),
        *_check_orders(receipt),
        *_check_machines(receipt),
        *_check_agreement(receipt),
        *_check_keys(receipt, node, client),
        *_check_received(receipt, received or {}),
    ]
    checked = (*CHECKED, "received outputs") if received else CHECKED
    return Report(tuple(findings), checked, tuple(_not_proven(receipt, received)))


def differing_outputs(one: PythonCommitment, other: PythonCommitment) -> tuple[str, ...]:
    """Names of outputs that only one of two nodes has, or that differ."""
    first = {each.name: (each.kind, each.hash) for each in one.outputs}
    second = {each.name: (each.kind, each.hash) for each in other.outputs}
    return tuple(name for name in sorted({*first, *second}) if first.get(name) != second.get(name))


def _check_signatures(receipt: PythonReceipt) -> Iterator[Finding]:
    spec = receipt.spec
    if not is_signed(spec.client, Domain.SPEC, spec.spec, spec.signature):
        yield Finding("signature.spec", f"{key_id(spec.client)} did not sign this job")
    for word in receipt.words:
        if not is_python_signed(word.commitment, word.signature):
            yield Finding(
                "signature.commitment", f"{key_id(word.commitment.node)} did not sign this"
            )


def _check_orders(receipt: PythonReceipt) -> Iterator[Finding]:
    try:
        order = read_order(receipt.spec.spec)
    except FormatError as error:
        yield Finding("spec.format", str(error))
        return
    spec = blake3(receipt.spec.spec).digest()
    for each in (word.commitment for word in receipt.words):
        if each.spec != spec:
            yield Finding("spec.digest", f"{key_id(each.node)} signed for another job")
        elif (each.code, each.inputs) != (order.code, order.inputs):
            yield Finding("order.other", f"{key_id(each.node)} signed for other code or inputs")
    if len({word.commitment.job_id for word in receipt.words}) > 1:
        yield Finding("job.other", "the nodes' words are of jobs with different ids")


def _check_machines(receipt: PythonReceipt) -> Iterator[Finding]:
    if len({word.commitment.fingerprint for word in receipt.words}) > 1:
        yield Finding(
            "fingerprint.other",
            "the nodes are not of one fingerprint, so their bits cannot be compared",
        )


def _check_agreement(receipt: PythonReceipt) -> Iterator[Finding]:
    if not receipt.agreeing:
        yield Finding(
            "agreement.none",
            f"no more than half of {format_count(len(receipt.words), 'node')} say the same",
        )


def _check_keys(
    receipt: PythonReceipt, node: bytes | None, client: bytes | None
) -> Iterator[Finding]:
    agreeing = {word.commitment.node for word in receipt.agreeing}
    if node is not None and node not in agreeing:
        yield Finding("node.key", f"{key_id(node)} is not among those who agree")
    yield from client_findings(receipt.spec, client)


def _check_received(receipt: PythonReceipt, received: Mapping[str, bytes]) -> Iterator[Finding]:
    word = next(iter((*receipt.agreeing, *receipt.words)))
    known = {each.name: each.hash for each in word.commitment.outputs}
    for name, found in received.items():
        if name not in known:
            yield Finding("received.unknown", f"the receipt has no output {name!r}")
        elif known[name] != found:
            yield Finding("received.content", f"output {name!r} is not what the nodes signed")


def _not_proven(receipt: PythonReceipt, received: Mapping[str, bytes] | None) -> Iterator[str]:
    agree = receipt.agreeing
    if len(agree) > 1:
        yield (
            f"whether the answer is right: {len(agree)} keys say the same, and one owner may have "
            "several keys, or one node may repeat what another one told it"
        )
    else:
        yield "whether the answer is right: it is one node's word, and nobody else did the job"
    for first in agree[:1]:
        for word in (each for each in receipt.words if each not in agree):
            names = differing_outputs(first.commitment, word.commitment)
            what = ", ".join(names) or "how it ended"
            yield f"who is right where {key_id(word.commitment.node)} differs: {what}"
    yield "what Python code computes has no defined bits: no replay and no dispute decides"
    yield "the machine, the jail, the time and the resources used: they are the nodes' word"
    yield "what the job printed, and its metrics: no node signs them"
    if received is None:
        yield "the outputs that you have: none was given"
