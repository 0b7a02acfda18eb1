"""The inputs of a step follow from the run, and from nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.small_run import BATCH, ROWS, training

from bcai.base.errors import InputError
from bcai.proof.data import Data
from bcai.proof.feed import ORDER_STREAM, Feeder, Source, indices, indices_digest, sources
from bcai.proof.run import Batches, Constant
from bcai.proof.schedule import Knot
from bcai.proof.state import tensors_root
from bcai.vm.isa.ops.random import permutation
from bcai.vm.isa.philox import words
from bcai.vm.isa.types import Array

SMALL = training()
FEED = SMALL.run.feed
assert isinstance(FEED, Batches)
BATCHES = ROWS // BATCH


def test_an_epoch_is_the_instruction_sets_permutation() -> None:
    run = replace(SMALL.run, steps=3 * BATCHES)
    for epoch in range(3):
        steps = range(epoch * BATCHES, (epoch + 1) * BATCHES)
        found = np.concatenate([indices(run, step) for step in steps])
        drawn = words(run.seed, epoch, ORDER_STREAM, ROWS)
        assert (found == np.argsort(drawn, kind="stable")[: BATCHES * BATCH]).all()
        assert len(set(found.tolist())) == BATCHES * BATCH  # the last two rows are dropped


def test_golden_order() -> None:
    """The first two batches of seed -77 over 22 rows."""
    assert [indices(SMALL.run, step).tolist() for step in (0, 1)] == [
        [18, 16, 20, 13],
        [2, 6, 12, 0],
    ]


def test_without_shuffling_the_order_is_the_datas() -> None:
    run = replace(SMALL.run, feed=replace(FEED, shuffle=False))
    assert indices(run, 1).tolist() == [4, 5, 6, 7]
    assert indices(run, BATCHES).tolist() == [0, 1, 2, 3]


def test_digests_tell_orders_apart() -> None:
    other = replace(SMALL.run, seed=-78)
    swapped = blake3(indices(SMALL.run, 1).tobytes() + indices(SMALL.run, 0).tobytes()).digest()
    found = {indices_digest(SMALL.run, range(2)), indices_digest(other, range(2)), swapped}
    assert len(found) == 3


@given(
    seed=st.integers(-(1 << 63), (1 << 63) - 1),
    rows=st.integers(1, 300) | st.just(70_000),
    share=st.floats(0, 1),
    start=st.integers(0, 500),
    count=st.integers(0, 200),
    shuffle=st.booleans(),
)
def test_a_digest_is_that_of_the_definition(
    seed: int, rows: int, share: float, start: int, count: int, shuffle: bool
) -> None:
    """Whatever is drawn together: each epoch is the instruction `Permutation`."""
    size = max(1, int(rows * share), rows // 50)
    run = replace(
        SMALL.run, seed=seed, feed=replace(FEED, rows=rows, batch_size=size, shuffle=shuffle)
    )
    expected = blake3()
    for step in range(start, start + count):
        epoch, batch = divmod(step, rows // size)
        order = defined_order(seed, epoch, rows) if shuffle else np.arange(rows)
        taken = order[batch * size : (batch + 1) * size]
        assert (indices(run, step) == taken).all()
        expected.update(taken.astype("<i8").tobytes())
    assert indices_digest(run, range(start, start + count)) == expected.digest()


@cache
def defined_order(seed: int, epoch: int, rows: int) -> Array:
    key, step = np.asarray(seed, np.int64), np.asarray(epoch, np.int64)
    return np.asarray(permutation.body(key, step, stream=ORDER_STREAM, count=rows))


def test_inputs_of_a_step() -> None:
    feeder = SMALL.feeder()
    assert feeder.sources == {
        "x": Source.COLUMN,
        "target": Source.COLUMN,
        "seed": Source.SEED,
        "step": Source.STEP,
        "learning_rate": Source.SCHEDULE,
    }
    found = feeder.inputs(11)
    rows = indices(SMALL.run, 11)
    assert (found["x"] == SMALL.data.columns["features"][rows]).all()
    assert (found["target"] == SMALL.data.columns["label"][rows]).all()
    assert (found["seed"], found["step"]) == (-77, 11)
    assert found["learning_rate"] == np.float32(0.01)
    assert {name: each.dtype for name, each in found.items()} == {
        "x": np.float32, "target": np.int64, "seed": np.int64, "step": np.int64,
        "learning_rate": np.float32,
    }  # fmt: skip


def test_constant_inputs_stay() -> None:
    given: dict[str, Array] = {
        "x": np.ones((4, 6), np.float32),
        "target": np.zeros(4, np.int64),
        "seed": np.asarray(3, np.int64),
    }
    run = replace(SMALL.run, feed=Constant(tensors_root(given), tuple(given)))
    feeder = Feeder(run, SMALL.program, given)
    assert feeder.sources["seed"] is Source.CONSTANT
    assert (feeder.inputs(0)["seed"], feeder.inputs(7)["seed"], feeder.inputs(7)["step"]) == (
        3,
        3,
        7,
    )
    with pytest.raises(InputError, match="inputs: root is"):
        Feeder(run, SMALL.program, {**given, "seed": np.asarray(4, np.int64)})
    with pytest.raises(InputError, match="the run committed to x, target, seed"):
        Feeder(run, SMALL.program, {"x": given["x"]})
    with pytest.raises(InputError, match="expected them by name"):
        Feeder(run, SMALL.program, SMALL.data)


RATE = (Knot(0, 0.1),)
BAD: Mapping[str, tuple[dict[str, object], str]] = {
    "another program": ({"program_root": bytes(32)}, "not of this one"),
    "no rate": ({"schedules": {}}, "nothing says where input 'learning_rate'"),
    "unknown port": ({"schedules": {"rate": RATE}}, "the run feeds 'rate'; the program has x,"),
    "twice": ({"schedules": {"learning_rate": RATE, "x": RATE}}, "'x' has a schedule and a column"),
    "no number": (
        {"schedules": {"learning_rate": RATE, "step": RATE}},
        "'step' has a schedule and is int64",
    ),
    "a rate beyond float32": (
        {"schedules": {"learning_rate": (Knot(0, 0.1), Knot(5, -1e39))}},
        r"schedules\['learning_rate'\] at step 5: the value is beyond the largest float32",
    ),
    "batches of 3": ({"feed": replace(FEED, batch_size=3)}, "expected batches of 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_run_that_does_not_fit_its_program_is_refused(name: str) -> None:
    changes, message = BAD[name]
    run = replace(SMALL.run, **changes)
    with pytest.raises(InputError, match=message):
        sources(run, SMALL.program)


def test_data_that_was_not_committed_to_is_refused() -> None:
    columns = SMALL.data.columns
    half = Data({name: column[:11] for name, column in columns.items()})
    swapped = Data({name: column[::-1] for name, column in columns.items()})
    missing = Data({"features": columns["features"]})
    wide = Data({**columns, "features": columns["features"].astype(np.float64)})
    for data, message in (
        (half, "found 11 rows, the run committed to 22"),
        (swapped, "data: root is"),
        (missing, "'target' takes column 'label'"),
        (wide, r"a row is float64\[6\], 'x' takes float32\[6\]"),
    ):
        with pytest.raises(InputError, match=message):
            Feeder(SMALL.run, SMALL.program, data)
