"""Checks a receipt: signatures, hashes, inclusion. Milliseconds, offline, without running anything.

What this proves: the node that is named signed exactly this run, this trace and these outputs,
and they fit together. That the numbers were computed honestly is what replay and disputes are for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from blake3 import blake3

from bcai.base.errors import BcaiError
from bcai.proof.commitment import Commitment, is_commitment_signed
from bcai.proof.evidence import is_claimable, strongest
from bcai.proof.feed import indices_digest, sources
from bcai.proof.keys import Domain, is_signed, key_id
from bcai.proof.receipt import Receipt, SignedSpec
from bcai.proof.run import Batches
from bcai.proof.state import TensorHash, canonical_tensors, content_hash, head_of
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify

ROWS_DRAWN_MAX = 500_000
"""Rows whose order is drawn again to check the trace: some 20 ms. Receipts may claim any number."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong: a stable name, and what was found."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found; `unchecked` says what it did not look at."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def check_receipt(
    receipt: Receipt,
    *,
    node: bytes | None = None,
    client: bytes | None = None,
    run: bytes | None = None,
    tensors: Mapping[str, Array] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Report:
    """Hold every part of a receipt against the others.

    Parameters
    ----------
    node, client
        Public keys that must have signed; else whoever is named in the receipt.
    run
        Digest of the run that was asked for; else whichever is in the receipt.
    tensors
        Outputs or parameters that were received, by name, to be held against their hashes.
    files
        Outputs of type `bytes` that were received, as BLAKE3 of their content, by name.
    """
    findings: list[Finding] = []
    unchecked: list[str] = list(_not_looked_at(receipt, tensors))
    try:
        program = verify(receipt.program)
    except BcaiError as error:
        return Report((Finding("program.illegal", str(error)),), (), tuple(unchecked))
    for check in _CHECKS.values():
        findings += check(receipt, program)
    findings += key_findings(receipt.commitment.node, receipt.spec, node, client)
    if run is not None and receipt.run.digest != run:
        findings.append(Finding("run.other", "this is not the run that was asked for"))
    findings += _check_received(receipt, tensors or {}, files or {})
    unchecked += _unbound(receipt)
    received = ("received outputs",) if tensors or files else ()
    return Report(tuple(findings), (*_CHECKS, *received), tuple(unchecked))


def signature_findings(
    commitment: Commitment, signature: bytes, spec: SignedSpec | None
) -> Iterator[Finding]:
    """Whether node and client signed, and one for the job of the other."""
    if not is_commitment_signed(commitment, signature):
        who = key_id(commitment.node)
        yield Finding("signature.commitment", f"{who} did not sign this commitment")
    if spec is not None and not is_signed(spec.client, Domain.SPEC, spec.spec, spec.signature):
        yield Finding("signature.spec", f"{key_id(spec.client)} did not sign this job")
    if commitment.spec != (None if spec is None else blake3(spec.spec).digest()):
        yield Finding("spec.digest", "the node committed to another job than the one enclosed")


def key_findings(
    signer: bytes, spec: SignedSpec | None, node: bytes | None, client: bytes | None
) -> Iterator[Finding]:
    """Whether those signed who were asked for; None asks for nobody."""
    if node is not None and signer != node:
        yield Finding("node.key", f"signed by {key_id(signer)}, not {key_id(node)}")
    yield from client_findings(spec, client)


def client_findings(spec: SignedSpec | None, client: bytes | None) -> Iterator[Finding]:
    """Whether that client signed the job; None asks for nobody."""
    if client is not None and (spec is None or spec.client != client):
        who = "nobody" if spec is None else key_id(spec.client)
        yield Finding("client.key", f"the job is signed by {who}, not {key_id(client)}")


def received_findings(
    known: Mapping[str, TensorHash], tensors: Mapping[str, Array]
) -> Iterator[Finding]:
    """Whether tensors that were received are those of the receipt."""
    for name, array in canonical_tensors(tensors).items():
        expected, found = known.get(name), TensorType.of(array)
        if expected is None:
            yield Finding("received.unknown", f"the receipt has no {name!r}")
        elif found != expected.type:
            yield Finding("received.type", f"{name!r} is {found}, not {expected.type}")
        elif content_hash(array) != expected.content:
            yield Finding("received.content", f"{name!r} is not what the node computed")


def file_findings(commitment: Commitment, files: Mapping[str, bytes]) -> Iterator[Finding]:
    """Whether outputs that were received whole are those of the receipt; BLAKE3 by name."""
    table = {each.name: each for each in commitment.outputs if each.type == "bytes"}
    for name, digest in files.items():
        if name not in table:
            yield Finding("received.unknown", f"the receipt has no file {name!r}")
        elif table[name].hash != digest:
            yield Finding("received.content", f"file {name!r} is not what the node left")


def _check_signatures(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    del program
    yield from signature_findings(receipt.commitment, receipt.signature, receipt.spec)


def _check_run(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    run = receipt.run
    if receipt.commitment.run != run.digest:
        yield Finding("run.digest", "the node committed to another run than the one enclosed")
    found = program_root(receipt.program)
    if found != run.program_root:
        yield Finding("program.root", f"the program is {found.hex()}, not the run's")
        return
    try:
        sources(run, program)
    except BcaiError as error:
        yield Finding("run.inputs", str(error))


def _check_trace(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    del program
    run, trace = receipt.run, receipt.commitment.trace
    found = receipt.trace.head
    if trace.size != run.checkpoints or found.size != trace.size:
        yield Finding(
            "trace.count",
            f"{found.size} checkpoints enclosed, {trace.size} committed to, "
            f"{run.checkpoints} in a run of {run.steps} steps",
        )
        return
    if found != trace:
        yield Finding("trace.root", "the checkpoints are not those that were committed to")
    for index, each in enumerate(receipt.checkpoints):
        if each.step != run.span(index).stop:
            yield Finding("trace.steps", f"checkpoint {index} is after step {each.step}")
            return
    for index in _spans_to_draw(receipt):
        if receipt.checkpoints[index].indices != indices_digest(run, run.span(index)):
            yield Finding("trace.rows", f"checkpoint {index}: other rows than the run's seed draws")
            return


def _check_state(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    if receipt.checkpoints and receipt.checkpoints[-1].state != receipt.commitment.final_state:
        yield Finding("state.final", "the last checkpoint has another state than the commitment")
    if head_of(receipt.final_state).digest != receipt.commitment.final_state:
        yield Finding("state.tensors", "the final state's tensors do not have its root")
    types = {port.name: port.type for port in program.program.parameters}
    if {each.name: each.type for each in receipt.final_state} != types:
        yield Finding("state.types", "the final state's tensors are not the program's parameters")


def _check_outputs(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    states = {port.name for port in program.program.parameters}
    types = {name: each for name, each in program.output_types.items() if name not in states}
    if {each.name: each.type for each in receipt.last_outputs} != types:
        yield Finding("outputs.types", "the last step's outputs are not the program's")
    last = receipt.run.checkpoints - 1
    roots = receipt.output_roots
    if len(roots) != len(receipt.run.span(last)) or (
        receipt.checkpoints and receipt.checkpoints[-1].outputs != blake3(b"".join(roots)).digest()
    ):
        yield Finding("outputs.roots", "the outputs' roots are not those of the last checkpoint")
    elif head_of(receipt.last_outputs).digest != roots[-1]:
        yield Finding("outputs.last", "the last step's outputs do not have their root")
    known = _by_name(receipt)
    for output in receipt.commitment.outputs:
        tensor = known.get(output.name)
        if tensor is None or output.type in ("state", "bytes"):
            continue
        if (str(tensor.type), tensor.content) != (output.type, output.hash):
            yield Finding(
                "outputs.table", f"output {output.name!r} is not the one that the trace ends in"
            )


def _check_evidence(receipt: Receipt, program: VerifiedProgram) -> Iterator[Finding]:
    del program
    claimed, backend = receipt.commitment.evidence, receipt.commitment.backend
    if not is_claimable(claimed, receipt.program, backend):
        best = strongest(receipt.program, backend)
        yield Finding(
            "evidence.class", f"claimed is {claimed}; this program on {backend!r} allows {best}"
        )


_CHECKS: dict[str, Callable[[Receipt, VerifiedProgram], Iterator[Finding]]] = {
    "signatures": _check_signatures,
    "run and program": _check_run,
    "trace": _check_trace,
    "final state": _check_state,
    "outputs": _check_outputs,
    "evidence class": _check_evidence,
}


def _check_received(
    receipt: Receipt, tensors: Mapping[str, Array], files: Mapping[str, bytes]
) -> Iterator[Finding]:
    yield from received_findings(_by_name(receipt), tensors)
    yield from file_findings(receipt.commitment, files)


def _by_name(receipt: Receipt) -> dict[str, TensorHash]:
    return {each.name: each for each in (*receipt.final_state, *receipt.last_outputs)}


def _spans_to_draw(receipt: Receipt) -> range:
    """Checkpoints whose rows are drawn again: all, or as many as are cheap, side by side.

    Where they begin follows from the trace's root: not chosen, other than by trying.
    """
    run, feed = receipt.run, receipt.run.feed
    if not isinstance(feed, Batches):
        return range(run.checkpoints)
    cheap = ROWS_DRAWN_MAX // feed.batch_size
    if feed.shuffle:
        cheap = ROWS_DRAWN_MAX // feed.rows * feed.batches
    if run.steps <= cheap:
        return range(run.checkpoints)
    count = cheap // run.checkpoint_every
    first = int.from_bytes(receipt.commitment.trace.root) % (run.checkpoints - count + 1)
    return range(first, first + count)


def _not_looked_at(receipt: Receipt, tensors: Mapping[str, Array] | None) -> Iterator[str]:
    yield "whether the node computed honestly: replay says so"
    yield "the jail, the time and the resources used: they are the node's word"
    spans, there = _spans_to_draw(receipt), receipt.run.checkpoints
    if len(spans) < there:
        drawn = f"{spans.start} to {spans.stop - 1}" if spans else "none"
        yield f"the rows of all {there} checkpoints ({drawn} drawn again): replay draws them all"
    if tensors is None:
        yield "the outputs that you have: none was given"
    for text in receipt.commitment.unmapped:
        yield f"not covered by the trace: {text}"


def _unbound(receipt: Receipt) -> Iterator[str]:
    known = _by_name(receipt)
    for output in receipt.commitment.outputs:
        if output.name not in known or output.type in ("state", "bytes"):
            yield f"output {output.name!r} ({output.type}): signed, but not part of the trace"
