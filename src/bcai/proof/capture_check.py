"""Checks the receipt of a captured script: signatures, hashes, places. Nothing is executed."""

from collections.abc import Callable, Iterator, Mapping

from bcai.base.errors import BcaiError
from bcai.proof.capture import GivenLeaf, Leaf, NamedLeaf, PartLeaf, head_of_leaves
from bcai.proof.capture_receipt import CaptureReceipt, named_tensors, strongest_capture
from bcai.proof.check import (
    Finding,
    Report,
    file_findings,
    key_findings,
    received_findings,
    signature_findings,
)
from bcai.proof.evidence import EvidenceClass
from bcai.proof.state import head_of
from bcai.proof.step_trace import Place
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify

Programs = Mapping[bytes, VerifiedProgram]


def check_capture(
    receipt: CaptureReceipt,
    *,
    node: bytes | None = None,
    client: bytes | None = None,
    tensors: Mapping[str, Array] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Report:
    """Hold every part of a receipt against the others; see `check_receipt` for the parameters."""
    unchecked = [*_not_looked_at(receipt), *(() if tensors or files else (_NO_OUTPUTS,))]
    try:
        programs = {root: verify(each) for root, each in receipt.by_root.items()}
    except BcaiError as error:
        return Report((Finding("program.illegal", str(error)),), (), tuple(unchecked))
    findings: list[Finding] = []
    for check in _CHECKS.values():
        findings += check(receipt, programs)
    findings += key_findings(receipt.commitment.node, receipt.spec, node, client)
    known = {each.name: each for each in named_tensors(receipt.leaves)}
    findings += received_findings(known, tensors or {})
    findings += file_findings(receipt.commitment, files or {})
    received = ("received outputs",) if tensors or files else ()
    return Report(tuple(findings), (*_CHECKS, *received), tuple(unchecked))


_NO_OUTPUTS = "the outputs that you have: none was given"


def _signatures(receipt: CaptureReceipt, programs: Programs) -> Iterator[Finding]:
    del programs
    at = receipt.commitment
    yield from signature_findings(at, receipt.signature, receipt.spec)
    if at.run != receipt.terms.digest:
        yield Finding("run.digest", "the node committed to other terms than those enclosed")


def _trace(receipt: CaptureReceipt, programs: Programs) -> Iterator[Finding]:
    del programs
    head, found = receipt.commitment.trace, head_of_leaves(receipt.leaves)
    if head.size != found.size:
        yield Finding("trace.count", f"{found.size} leaves, the node committed to {head.size}")
    elif head.root != found.root:
        yield Finding("trace.root", "the leaves are not those that the node committed to")


def _places(receipt: CaptureReceipt, programs: Programs) -> Iterator[Finding]:
    """Every operand comes from an earlier leaf and has the type that is wanted."""
    types: list[tuple[TensorType, ...]] = []
    for number, leaf in enumerate(receipt.leaves):
        wrong = _wrong(leaf, types, programs)
        if wrong:
            yield Finding("trace.places", f"leaf {number}: {wrong}")
            return
        types.append(_types(leaf, programs))


def _wrong(leaf: Leaf, types: list[tuple[TensorType, ...]], programs: Programs) -> str:
    if isinstance(leaf, GivenLeaf):
        return ""
    if isinstance(leaf, NamedLeaf):
        found = _type_at(leaf.source, types)
        return "" if found == leaf.type else f"output {leaf.name!r} is {leaf.type}, not {found}"
    program = programs.get(leaf.program)
    if program is None:
        return "its program is not enclosed"
    ports = program.program.ports
    if len(ports) != len(leaf.sources) or len(program.program.outputs) != len(leaf.results):
        return "it does not have its program's inputs and outputs"
    for port, source in zip(ports, leaf.sources, strict=True):
        if isinstance(source, bytes):
            fits = port.type.shape == () and port.type.dtype.itemsize == len(source)
        else:
            fits = _type_at(source, types) == port.type
        if not fits:
            return f"input {port.name!r} does not come from a value of type {port.type}"
    return ""


def _type_at(place: Place, types: list[tuple[TensorType, ...]]) -> TensorType | None:
    there = place.leaf < len(types) and place.result < len(types[place.leaf])
    return types[place.leaf][place.result] if there else None


def _types(leaf: Leaf, programs: Programs) -> tuple[TensorType, ...]:
    if isinstance(leaf, GivenLeaf):
        return (leaf.type,)
    if isinstance(leaf, PartLeaf):
        return tuple(programs[leaf.program].output_types.values())
    return ()


def _outputs(receipt: CaptureReceipt, programs: Programs) -> Iterator[Finding]:
    del programs
    contents = [_contents(each) for each in receipt.leaves]
    for leaf in receipt.leaves:
        if not isinstance(leaf, NamedLeaf):
            continue
        at = leaf.source
        known = contents[at.leaf] if at.leaf < len(contents) else ()
        if at.result >= len(known) or known[at.result] != leaf.content:
            yield Finding("outputs.last", f"output {leaf.name!r} is not the value of its place")
    named = named_tensors(receipt.leaves)
    if head_of(named).digest != receipt.commitment.final_state:
        yield Finding("state.final", "the named tensors do not have the root committed to")
    table = {each.name: (each.type, each.hash) for each in receipt.commitment.outputs}
    for tensor in named:
        if table.get(tensor.name) != (str(tensor.type), tensor.content):
            yield Finding("outputs.table", f"output {tensor.name!r} is not in the table as it is")


def _contents(leaf: Leaf) -> tuple[bytes, ...]:
    if isinstance(leaf, GivenLeaf):
        return (leaf.content,)
    return leaf.results if isinstance(leaf, PartLeaf) else ()


def _evidence(receipt: CaptureReceipt, programs: Programs) -> Iterator[Finding]:
    del programs
    at = receipt.commitment
    best = strongest_capture(receipt.leaves, at.unmapped, at.backend)
    order = list(EvidenceClass)
    if order.index(at.evidence) < order.index(best):
        yield Finding("evidence.class", f"claimed is {at.evidence}; this trace allows {best}")


_CHECKS: dict[str, Callable[[CaptureReceipt, Programs], Iterator[Finding]]] = {
    "signatures": _signatures,
    "trace": _trace,
    "places": _places,
    "outputs": _outputs,
    "evidence class": _evidence,
}


def _not_looked_at(receipt: CaptureReceipt) -> Iterator[str]:
    yield "whether the node computed honestly: replay says so"
    yield "that these are the operations which the job's script asks for, and its data: run it"
    yield "the jail, the time and the resources used: they are the node's word"
    for text in receipt.commitment.unmapped:
        yield f"not covered by the trace: {text}"
