"""Two receipts of one captured script that disagree: from the trees of leaves to one instruction.

Up to the first leaf that differs the two traces are one, so its operands are agreed. A part that
came out otherwise is then a run of one step, whose inputs are constants: the dispute about it is
that of any other run (`stages`), and ends at one instruction that the arbiter executes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from bcai.base.errors import InputError
from bcai.base.merkle import Tree
from bcai.proof.bisection import Case
from bcai.proof.capture import Leaf, NamedLeaf, PartLeaf, tree_of_leaves
from bcai.proof.capture_receipt import CaptureReceipt
from bcai.proof.capture_replay import part_inputs
from bcai.proof.feed import indices_digest
from bcai.proof.messages import Side
from bcai.proof.recorder import Checkpoint, Trace
from bcai.proof.run import Run
from bcai.proof.single_run import SingleRun, single_run
from bcai.proof.state import TensorHash, head_of, tensors_root
from bcai.proof.step_trace import Place
from bcai.vm.isa.types import Array
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


def part_run(
    receipt: CaptureReceipt, number: int, values: Mapping[Place, Array]
) -> tuple[VerifiedProgram, SingleRun]:
    """The run of one step that a part is, from the values before it."""
    leaf = receipt.leaves[number]
    if not isinstance(leaf, PartLeaf):
        raise InputError(f"leaf {number}: expected a part")
    program = receipt.by_root[leaf.program]
    verified = verify(program)
    return verified, single_run(verified, part_inputs(program, leaf, values))


def part_trace(run: Run, program: VerifiedProgram, leaf: PartLeaf) -> Trace:
    """The trace of that run, as a receipt claims it: one checkpoint."""
    types = program.output_types
    results = dict(zip(types, leaf.results, strict=True))
    outputs = [
        TensorHash(name, types[name], results[name])
        for name in sorted(types, key=lambda name: name.encode())
    ]
    digest = blake3(head_of(outputs).digest).digest()
    state = tensors_root({})
    return Trace((Checkpoint(1, state, indices_digest(run, run.span(0)), digest),))


def part_case(run: Run, program: VerifiedProgram, traces: Mapping[Side, Trace]) -> Case:
    """What an arbiter needs to begin: see `settle`."""
    return Case(run, program, {side: trace.head for side, trace in traces.items()})


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
