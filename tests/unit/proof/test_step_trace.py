"""The parts of a dispute: the leaves of a step, the way down to one of them, what a node keeps."""

from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.small_run import training

from bcai.base.errors import FormatError, NotFoundError
from bcai.base.merkle import Tree, leaf_hash
from bcai.proof.bisection import descent_of
from bcai.proof.execute import execute
from bcai.proof.kept_evidence import KeptSide, keep_evidence
from bcai.proof.messages import AskNodes, Nodes, Side
from bcai.proof.recorder import Trace
from bcai.proof.side import ReplayingSide
from bcai.proof.step_trace import (
    InstructionLeaf,
    LastLeaf,
    Leaf,
    OutputLeaf,
    Place,
    PortLeaf,
    StepLayout,
    decode_leaf,
    encode_leaf,
    trace_step,
)
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.program import cbor

SMALL = training()
LAYOUT = StepLayout(SMALL.program)
HONEST = SMALL.trace()
STEP = 4  # the last of the first checkpoint
OTHER = bytes(32)


def side(trace: Trace) -> ReplayingSide:
    states = {0: SMALL.state}
    return ReplayingSide(SMALL.program, SMALL.feeder(), SMALL.compiled(), trace, states)


TRUE = side(HONEST).step(STEP)


def test_kept_files_give_back_what_was_kept(tmp_path: Path) -> None:
    keep_evidence(tmp_path, side(HONEST), 0, STEP)
    kept = KeptSide(HONEST, tmp_path)
    assert kept.step(STEP) == TRUE
    assert kept.step_roots(0) == side(HONEST).step_roots(0)
    assert blake3(
        b"".join(each.read_bytes() for each in sorted(tmp_path.iterdir()))
    ).hexdigest() == ("3ae96869a9c110c6179d1c8b802cd2fe612248f46fdab14dceca9dc1f98e5906")
    with pytest.raises(NotFoundError, match=r"step-3\.leaves"):
        kept.step(3)
    file = tmp_path / f"step-{STEP}.leaves"
    data = file.read_bytes()
    for changed in (data[:-1], data + b"\x00", data.replace(b"\x82\x01", b"\x82\x02", 1), b""):
        file.write_bytes(changed)
        with pytest.raises(FormatError):
            KeptSide(HONEST, tmp_path).step(STEP)


@given(st.integers(2, 300), st.data())
def test_a_descent_finds_the_first_leaf_that_differs(size: int, draw: st.DataObject) -> None:
    places = draw.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=5))
    plain = [leaf_hash(bytes([n % 256, n // 256])) for n in range(size)]
    trees = {
        Side.A: Tree(plain),
        Side.B: Tree([OTHER if n in places else each for n, each in enumerate(plain)]),
    }
    descent = descent_of({side: tree.head for side, tree in trees.items()})
    rounds = 0
    while descent.level:
        asked: AskNodes = descent.ask(None)
        start, below = asked.index << asked.depth, asked.level - asked.depth
        descent = descent.descend({
            side: Nodes(tuple(tree.levels[below][start : start + (1 << asked.depth)]))
            for side, tree in trees.items()
        })  # fmt: skip
        rounds += 1
    assert descent.index == min(places)
    assert rounds == -(-(size - 1).bit_length() // 4)


def test_a_step_trace_is_what_the_module_says() -> None:
    assert len(TRUE.leaves) == LAYOUT.size
    assert all(LAYOUT.is_as_declared(index, leaf) for index, leaf in enumerate(TRUE.leaves))
    assert {type(leaf) for leaf in TRUE.leaves} == {
        PortLeaf, InstructionLeaf, OutputLeaf, LastLeaf
    }  # fmt: skip
    states = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    again = side(HONEST).step_roots(0)
    assert TRUE.leaves[-1] == LastLeaf(again.states[STEP], again.outputs[STEP])
    native = NativeBackend(threads=1).compile(SMALL.program)
    inputs = SMALL.feeder().inputs(STEP)
    assert trace_step(LAYOUT, native, inputs, states[STEP - 1].state) == TRUE


@given(st.sampled_from(TRUE.leaves), st.data())
def test_a_leaf_has_one_encoding(leaf: Leaf, draw: st.DataObject) -> None:
    data = encode_leaf(leaf)
    assert decode_leaf(data) == leaf
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = bytes(
        [*data[:place], data[place] ^ draw.draw(st.integers(1, 255)), *data[place + 1 :]]
    )
    try:
        assert decode_leaf(changed) != leaf
    except FormatError:
        return


def test_a_leaf_with_truth_for_one_is_refused() -> None:
    leaf = InstructionLeaf(OTHER, (Place(0, 0), None), (OTHER,))
    as_truth = cbor.encode([True, leaf.instruction, [[0, 0], None], leaf.results])
    with pytest.raises(FormatError):
        decode_leaf(as_truth)
