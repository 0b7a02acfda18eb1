"""Says who lied about one leaf, from what either side shows: at most one instruction is executed.

Everything before the leaf is agreed, so evidence is good whichever side it comes from, as long as
it hashes to what is agreed. With that the true content is known; whoever claims another has lied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from blake3 import blake3

from bcai.base.errors import BcaiError, FormatError
from bcai.base.merkle import TreeHead, is_included, leaf_hash
from bcai.proof.bisection import SIDES, Case, Liars, Lie, Replies, Stage, Where
from bcai.proof.data import encode_header
from bcai.proof.feed import Source, indices, scheduled, sources
from bcai.proof.messages import (
    AskEvidence,
    EndEvidence,
    Opened,
    OperandEvidence,
    Reply,
    RowsEvidence,
    Side,
    TensorEvidence,
)
from bcai.proof.run import Batches, Constant
from bcai.proof.state import content_hash, head_of
from bcai.proof.step_trace import (
    InstructionLeaf,
    LastLeaf,
    Leaf,
    OutputLeaf,
    PortLeaf,
    decode_leaf,
    end_of_step,
)
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter, canonical
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program import cbor


class _Unusable(Exception):  # noqa: N818 - evidence that shows nothing
    """What a side showed does not hash to what is agreed."""


@dataclass(frozen=True, slots=True)
class EvidenceStage:
    """The last question: what it is that shows that the leaf is right."""

    where: Where
    before: bytes
    heads: Mapping[Side, TreeHead]
    leaves: Mapping[Side, Leaf]

    def ask(self) -> AskEvidence:
        """The question, the same to both."""
        assert self.where.step is not None
        assert self.where.leaf is not None
        return AskEvidence(self.where.step, self.where.leaf)

    def judge(self, case: Case, replies: Replies) -> Stage:
        """Raise Liars: here it ends."""
        problems: dict[Side, Lie] = {}
        for side in SIDES:
            try:
                truth = self._truth(case, side, replies[side])
            except (_Unusable, FormatError, ValueError, TypeError, LookupError) as error:
                problems[side] = Lie("evidence.withheld", f"shows nothing that helps: {error}")
                continue
            lies = {each: Lie(*truth.lie) for each in SIDES if self.leaves[each] != truth.leaf}
            raise Liars(lies)
        raise Liars(problems)

    def _truth(self, case: Case, side: Side, reply: Reply) -> "_Truth":
        leaf, index = self.leaves[side], self.where.leaf
        assert index is not None
        place = case.layout.describe(index)
        reader = _Reader(case, self.where, self.before, self.heads[side])
        if isinstance(leaf, PortLeaf):
            content, code = reader.port(index, reply)
            return _Truth(PortLeaf(index, content), (code, f"{place} is not what it must be"))
        if isinstance(leaf, InstructionLeaf):
            results = reader.execute(index, reply)
            if results is None:
                return _Truth(None, ("result", f"{place} cannot be executed on its operands"))
            truth = InstructionLeaf(leaf.instruction, leaf.operands, results)
            return _Truth(truth, ("result", f"{place} does not give this result"))
        if isinstance(leaf, OutputLeaf):
            content = reader.source(leaf.source, reply)
            truth = OutputLeaf(leaf.name, leaf.source, content)
            return _Truth(truth, ("output", f"{place} is not the value that it names"))
        return _Truth(reader.end(reply), ("state", "the state after the step is not its outputs'"))


@dataclass(frozen=True, slots=True)
class _Truth:
    leaf: Leaf | None
    lie: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one side's evidence, and holds it against what is agreed."""

    case: Case
    where: Where
    before: bytes
    head: TreeHead

    def port(self, index: int, reply: Reply) -> tuple[bytes, str]:
        """The true content of an input or parameter, and what a lie about it is called."""
        port, run = self.case.layout.ports[index], self.case.run
        step = self.where.step
        assert step is not None
        source = sources(run, self.case.program).get(port.name)
        if source is None:
            return self._tensor(self.before, self.case.layout.parameters, port, reply), "port.state"
        if source is Source.CONSTANT:
            assert isinstance(run.feed, Constant)
            return self._tensor(run.feed.root, run.feed.names, port, reply), "port.constant"
        if source is Source.COLUMN:
            return self._column(step, port.name, port.type, reply), "port.rows"
        if source is Source.SCHEDULE:
            value = scheduled(run, port.name, step, port.type.dtype)
            return content_hash(value), "port.schedule"
        number = run.seed if source is Source.SEED else step
        return content_hash(np.asarray(number, np.int64)), f"port.{source}"

    def execute(self, index: int, reply: Reply) -> tuple[bytes, ...] | None:
        """Hashes of an instruction's results; None if it cannot be executed on its operands."""
        layout, program = self.case.layout, self.case.program
        position = index - layout.first_instruction
        instruction = program.program.instructions[position]
        if not isinstance(reply, OperandEvidence):
            raise _Unusable("no operands")
        operands: list[Array | None] = []
        places = layout.operands(position)
        for number, place, data, source in zip(
            instruction.operands, places, reply.contents, reply.sources, strict=True
        ):
            if number is None or place is None:
                operands.append(None)
                continue
            if data is None or source is None:
                raise _Unusable("an operand is missing")
            if blake3(data).digest() != self._result(place.leaf, place.result, source):
                raise _Unusable("an operand is not its source's output")
            operands.append(_array(data, program.types[number]))
        try:
            results = ReferenceInterpreter().step(
                program.program.isa_version, instruction.op, operands, instruction.attributes
            )
        except BcaiError:
            return None
        return tuple(content_hash(canonical(each)) for each in results)

    def source(self, place: "tuple[int, int]", reply: Reply) -> bytes:
        """Content of the value that an output names."""
        if not isinstance(reply, Opened):
            raise _Unusable("no source")
        return self._result(place[0], place[1], reply)

    def end(self, reply: Reply) -> LastLeaf:
        """Where the step ends, from its output leaves and the state before."""
        layout = self.case.layout
        if not isinstance(reply, EndEvidence) or len(reply.outputs) != len(layout.outputs):
            raise _Unusable("no outputs")
        if head_of(reply.before).digest != self.before:
            raise _Unusable("not the state before")
        outputs: dict[str, bytes] = {}
        for place, opened in enumerate(reply.outputs):
            leaf = self._leaf(layout.first_output + place, opened)
            if isinstance(leaf, OutputLeaf):
                outputs[leaf.name] = leaf.content
        return end_of_step(layout, {each.name: each.content for each in reply.before}, outputs)

    def _leaf(self, index: int, opened: Opened) -> Leaf:
        if not is_included(self.head, index, leaf_hash(opened.data), opened.path):
            raise _Unusable(f"leaf {index} is not in the trace")
        return decode_leaf(opened.data)

    def _result(self, index: int, result: int, opened: Opened) -> bytes:
        leaf = self._leaf(index, opened)
        if isinstance(leaf, InstructionLeaf):
            return leaf.results[result]
        if isinstance(leaf, PortLeaf):
            return leaf.content
        raise _Unusable(f"leaf {index} is no value")

    def _tensor(self, root: bytes, names: Any, port: Any, reply: Reply) -> bytes:
        """Content of a tensor under a root of named tensors."""
        if not isinstance(reply, TensorEvidence):
            raise _Unusable("no tensor")
        order = sorted(names, key=str.encode)
        tensor, place = reply.tensor, order.index(port.name)
        if reply.head.digest != root or reply.head.size != len(order):
            raise _Unusable("another root")
        if (tensor.name, tensor.type) != (port.name, port.type):
            raise _Unusable("another tensor")
        if not is_included(reply.head, place, tensor.leaf, reply.path):
            raise _Unusable("a tensor that is not there")
        return tensor.content

    def _column(self, step: int, port: str, type_: TensorType, reply: Reply) -> bytes:
        """Content of a batch, from the rows that the run's seed draws."""
        feed = self.case.run.feed
        assert isinstance(feed, Batches)
        if not isinstance(reply, RowsEvidence) or reply.head.digest != feed.data_root:
            raise _Unusable("no rows")
        start, end, width = _column_range(feed, port, type_, reply)
        parts: list[bytes] = []
        for row, opened in zip(indices(self.case.run, step), reply.rows, strict=True):
            leaf = leaf_hash(opened.data)
            whole = len(opened.data) == width
            if not whole or not is_included(reply.head, 1 + int(row), leaf, opened.path):
                raise _Unusable(f"not row {int(row)} of the data")
            parts.append(opened.data[start:end])
        return blake3(b"".join(parts)).digest()


def _column_range(
    feed: Batches, port: str, type_: TensorType, reply: RowsEvidence
) -> tuple[int, int, int]:
    """First and last byte of a port's column in a row, and the bytes of a row."""
    header = reply.header
    if not is_included(reply.head, 0, leaf_hash(header.data), header.path):
        raise _Unusable("not the data's header")
    rows, columns = cbor.decode(header.data)
    types = {name: TensorType(DType(dtype), tuple(shape)) for name, dtype, shape in columns}
    column = feed.columns[port]
    fits = types.get(column) == type_.with_shape(*type_.shape[1:])
    if encode_header(rows, types) != header.data or rows != feed.rows or not fits:
        raise _Unusable("data of another form")
    start = 0
    for name, each in types.items():
        if name == column:
            break
        start += each.nbytes
    width = sum(each.nbytes for each in types.values())
    return start, start + types[column].nbytes, width


def _array(data: bytes, type_: TensorType) -> Array:
    if len(data) != type_.nbytes:
        raise _Unusable(f"an operand of {len(data)} bytes is no {type_}")
    plain = np.frombuffer(data, type_.dtype.numpy.newbyteorder("<"))
    return plain.astype(type_.dtype.numpy).reshape(type_.shape)
