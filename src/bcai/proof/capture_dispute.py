"""Two receipts of one captured script that disagree: from the trees of leaves to one instruction.

Up to the first leaf that differs the two traces are one, so its operands are agreed. A part that
came out otherwise is then a run of one step, whose inputs are constants: the dispute about it is
that of any other run (`stages`), and ends at one instruction that the arbiter executes. The run
follows from the hashes in the receipt, so a referee needs no value to begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import Tree
from bcai.proof.capture import GivenLeaf, Leaf, NamedLeaf, PartLeaf, tree_of_leaves
from bcai.proof.capture_receipt import CaptureReceipt
from bcai.proof.capture_replay import execute_parts, number_of
from bcai.proof.feed import Feeder, indices_digest
from bcai.proof.recorder import Checkpoint, Trace
from bcai.proof.run import Run
from bcai.proof.side import ReplayingSide
from bcai.proof.single_run import run_on
from bcai.proof.state import TensorHash, content_hash, head_of
from bcai.proof.step_trace import Place
from bcai.vm.compiler.backend import Backend
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify


@dataclass(frozen=True, slots=True)
class Split:
    """The first leaf that differs, and how many pairs of hashes it took to find it."""

    leaf: int
    compared: int
    a: Leaf | None
    b: Leaf | None

    @property
    def reason(self) -> str:
        """Why no node can be blamed for it; empty where one can."""
        named = [each is None or isinstance(each, NamedLeaf) for each in (self.a, self.b)]
        if all(named):
            return "the outputs differ"
        if any(named):
            return "one script has asked for more than the other"
        if not isinstance(self.a, PartLeaf) or not isinstance(self.b, PartLeaf):
            return "the scripts gave different values"
        if (self.a.program, self.a.sources) != (self.b.program, self.b.sources):
            return "the scripts asked for different operations"
        return ""


def first_difference(a: CaptureReceipt, b: CaptureReceipt) -> Split:
    """Go down both trees. Raises InputError where there is nothing to dispute."""
    if a.commitment.trace == b.commitment.trace:
        raise InputError("the two traces are the same: there is nothing to dispute")
    one, two = tree_of_leaves(a.leaves), tree_of_leaves(b.leaves)
    count = min(len(a.leaves), len(b.leaves))
    found, compared = _descend(one, two, count)
    return Split(found, compared, _at(a.leaves, found), _at(b.leaves, found))


@dataclass(frozen=True)
class Part:
    """One part of a receipt as a run of one step, whose inputs are constants.

    Attributes
    ----------
    results
        Hashes of what came of it, as somebody says.
    """

    program: VerifiedProgram
    run: Run
    results: tuple[bytes, ...]

    @property
    def trace(self) -> Trace:
        """The trace of the run, as `results` claim it: one checkpoint."""
        types = self.program.output_types
        outputs = [
            TensorHash(name, types[name], content)
            for name, content in sorted(
                zip(types, self.results, strict=True), key=lambda pair: pair[0].encode()
            )
        ]
        digest = blake3(head_of(outputs).digest).digest()
        indices = indices_digest(self.run, self.run.span(0))
        return Trace((Checkpoint(1, self.run.first_state, indices, digest),))

    def side(self, inputs: Mapping[str, Array], backend: Backend) -> ReplayingSide:
        """Whoever defends these results, computing on a backend.

        Raises
        ------
        InputError
            The inputs are not those of the part.
        """
        feeder = Feeder(self.run, self.program, inputs)
        executable = backend.compile(self.program)
        return ReplayingSide(self.program, feeder, executable, self.trace, {0: {}})


def part_of(receipt: CaptureReceipt, number: int) -> Part:
    """The part that a leaf says of; what it was run on is known by its hashes.

    Raises
    ------
    InputError
        The receipt has no part there.
    FormatError
        What it says of the part does not fit together.
    """
    leaf = _at(receipt.leaves, number) if number >= 0 else None
    if not isinstance(leaf, PartLeaf):
        raise InputError(f"leaf {number}: expected a part, the receipt has none there")
    plain = receipt.by_root.get(leaf.program)
    if plain is None:
        raise FormatError(f"leaf {number}: its program is not enclosed")
    program = verify(plain)
    counts = (len(plain.inputs), len(plain.outputs), 0)
    if (len(leaf.sources), len(leaf.results), len(plain.parameters)) != counts:
        raise FormatError(f"leaf {number}: it does not have its program's inputs and outputs")
    fed = [
        TensorHash(port.name, port.type, _content(receipt.leaves, source, port.type))
        for port, source in zip(plain.inputs, leaf.sources, strict=True)
    ]
    fed.sort(key=lambda each: each.name.encode())
    return Part(program, run_on(program, (), fed), leaf.results)


def inputs_of(
    receipt: CaptureReceipt, given: Mapping[str, Array], backend: Backend, number: int
) -> dict[str, Array]:
    """What a part was run on, from the values that the script gave: all before it is run again."""
    for ran in execute_parts(receipt, given, backend, number + 1):
        if ran.number == number:
            return ran.inputs
    raise InputError(f"leaf {number}: expected a part, the receipt has none there")


def _content(leaves: tuple[Leaf, ...], source: Place | bytes, type_: TensorType) -> bytes:
    """The hash of an operand, as the leaf says that it comes from."""
    if isinstance(source, bytes):
        return content_hash(number_of(source, type_))
    match _at(leaves, source.leaf):
        case GivenLeaf() as given if source.result == 0:
            return given.content
        case PartLeaf() as part if source.result < len(part.results):
            return part.results[source.result]
        case _:
            raise FormatError(f"leaf {source.leaf}: it has no result {source.result}")


def _descend(one: Tree, two: Tree, count: int) -> tuple[int, int]:
    """The first leaf that differs: nodes over whole pairs are compared from above."""
    compared, first = 0, 0
    level = min(len(one.levels), len(two.levels)) - 1
    while level >= 0:
        width = 1 << level
        place = first >> level
        is_whole = first + width <= count
        if is_whole:
            compared += 1
            if one.levels[level][place] == two.levels[level][place]:
                first += width
                continue
        level -= 1
    return first, compared


def _at(leaves: tuple[Leaf, ...], number: int) -> Leaf | None:
    return leaves[number] if number < len(leaves) else None
