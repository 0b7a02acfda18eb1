"""What a training is made of: columns, learning rates, and the run that they become."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai import InputError, cosine
from bcai.proof.feed import scheduled
from bcai.proof.run import Batches
from bcai.sdk.learning_rate import LearningRate, knots_of
from bcai.sdk.training import TrainingPlan, plan_training
from bcai.sdk.training_data import columns_of
from bcai.vm.isa.types import DType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = X.sum(1, keepdims=True)
WEIGHTS = {"w": np.zeros((4, 1), np.float32)}


def line(batch: int = 4) -> VerifiedProgram:
    build = Builder()
    x, y = build.input("x", f"float32[{batch},4]"), build.input("y", f"float32[{batch},1]")
    error = x @ build.parameter("w", "float32[4,1]") - y
    return build.finish(loss=(error * error).sum())


def plan(**options: object) -> TrainingPlan:
    given: dict[str, object] = {"batch_size": 4, "parameters": WEIGHTS, **options}
    return plan_training(line(), (X, Y), **given)  # pyright: ignore[reportArgumentType]


def test_a_plan_commits_to_whole_batches_of_each_epoch() -> None:
    run = plan(epochs=3, seed=7).run
    assert (run.steps, run.seed) == (6, 7)
    assert isinstance(run.feed, Batches)
    assert (run.feed.rows, run.feed.batch_size, run.feed.shuffle) == (10, 4, True)


@pytest.mark.parametrize(("model", "found"), [(None, "None"), (TrainingPlan, "the class Training")])
def test_what_cannot_be_a_model_is_named(model: object, found: str) -> None:
    with pytest.raises(InputError, match=f"model: found {found}"):
        plan_training(model, (X, Y), batch_size=4)  # pyright: ignore[reportArgumentType]


def test_the_same_call_commits_to_the_same_run_and_any_other_to_another() -> None:
    same = plan().run.digest
    assert plan().run.digest == same
    others = [
        plan(seed=1),
        plan(epochs=2),
        plan(shuffle=False),
        plan(learning_rate=0.5),
        plan(optimizer="sgd"),
        plan(max_norm=1.0),
        plan(checkpoint_every=3),
        plan(parameters={"w": np.ones((4, 1), np.float32)}),
    ]
    assert len({same, *(each.run.digest for each in others)}) == len(others) + 1


def test_columns_go_by_place_or_by_name() -> None:
    by_name = plan_training(line(), {"y": Y, "x": X}, batch_size=4, parameters=WEIGHTS)
    assert by_name.run.digest == plan().run.digest


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 11}, "batch_size: found 11, but the data has 10 examples"),
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"epochs": 1.5}, "epochs: found 1.5"),
        ({"optimizer": "adma"}, "optimizer: found 'adma'; did you mean 'adam'"),
        ({"learning_rate": [0.1]}, "found 1 values, expected 2"),
        ({"learning_rate": math.nan}, "found nan, expected a finite number"),
        ({"parameters": None}, "parameters: w have no value"),
        ({"loss": "mse_loss"}, "a Program has its own"),
        ({"batch_size": 2}, r"'x' is float32\[4,4\], expected batches of 2"),
        ({"checkpoint_every": 0}, "checkpoint_every: found 0, expected a whole number above 0"),
        ({"learning_rate": -0.1}, "learning_rate at step 0: found -0.1"),
        ({"learning_rate": "fast"}, "learning_rate: found 'fast', expected a number"),
        ({"learning_rate": None}, "learning_rate: found None, expected a number"),
        ({"learning_rate": object()}, "learning_rate: found <object .*, expected a number"),
        ({"learning_rate": np.array(0.1)}, "learning_rate: found array.*, expected a number"),
        ({"learning_rate": {"a": 0.1, 2: 0.1}}, "learning_rate: found step 'a'"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        plan(**options)


def test_a_batch_larger_than_the_data_comes_with_one_that_fits() -> None:
    with pytest.raises(InputError) as caught:
        plan(batch_size=32)
    assert caught.value.hint == "give batch_size=10, or less"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ((X,), "found 1 columns, the model takes 2: x, y"),
        ({"x": X, "z": Y}, "no input is called 'z'"),
        ((X, Y[:9]), "expected the same number of rows, at least one: 0 has 10, 1 has 9"),
        ((X, Y[:2]), "expected the same number of rows"),  # and not that a batch is too big
        ((), "found no column"),
        ("text", "found str"),
        (X, "found ndarray"),
        ((X, ["a"] * 10), "data column 1"),
        ((X, 1.0), "data column 1: found a scalar"),
    ],
)
def test_data_that_does_not_fit_is_named(data: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        plan_training(line(), data, batch_size=4, parameters=WEIGHTS)


class Examples:
    """A data set of PyTorch's kind."""

    def __init__(self, *, named: bool) -> None:
        self.named = named

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> object:
        row = (X[index], int(Y[index, 0]))
        return dict(zip("xy", row, strict=True)) if self.named else row


class Table:
    """Columns by name, as a DataFrame has them; it is no mapping."""

    def keys(self) -> list[str]:
        return ["x", "y"]

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, name: str) -> object:
        return {"x": X, "y": Y}[name]


class Endless:
    """An iterable data set of PyTorch's kind."""

    def __getitem__(self, index: int) -> object:
        raise NotImplementedError


class Numbers(Endless):
    """Items that are no rows."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> object:
        return float(index)


def test_a_table_is_its_columns() -> None:
    found = columns_of(Table())
    assert list(found) == ["x", "y"]
    assert (found["x"] == X).all()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(Endless(), "found Endless, which has no length"), (Numbers(), "do not line up in columns")],
)
def test_a_data_set_that_has_no_rows_is_named(data: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        columns_of(data)


def test_a_data_set_becomes_columns() -> None:
    first, second = columns_of(Examples(named=False)).values()
    assert (first == X).all()
    assert second.tolist() == Y[:, 0].tolist()
    assert list(columns_of(Examples(named=True))) == ["x", "y"]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20)
    | st.dictionaries(st.integers(0, 19), st.floats(0, 1), min_size=1, max_size=5)
    | st.floats(0, 1)
)
def test_every_way_to_say_a_learning_rate_is_followed(
    rate: list[float] | dict[int, float] | float,
) -> None:
    steps = len(rate) if isinstance(rate, list) else 20
    run = plan(epochs=10, learning_rate=rate).run if steps == 20 else None
    knots = knots_of(rate, steps)
    known = dict(enumerate(rate)) if isinstance(rate, list) else rate
    if not isinstance(known, dict):
        known = dict.fromkeys(range(20), known)
    for step, value in known.items():
        expected = np.float32(value)
        if run is not None:
            assert scheduled(run, "learning_rate", step, DType.float32) == expected
        elif step in {knot.step for knot in knots}:
            assert np.float32(dict(knots)[step]) == expected


def test_a_cosine_rises_and_falls() -> None:
    rate: LearningRate = cosine(1.0, 100, warmup=10, end=0.1)
    values = [knot.value for knot in knots_of(rate, 100)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.1, abs=1e-3)
    assert values[10:] == sorted(values[10:], reverse=True)


def test_a_level_stretch_needs_only_its_ends() -> None:
    assert len(knots_of(lambda step: 0.5 if step < 50 else 0.25, 100)) == 4
    assert len(knots_of([0.5] * 100, 100)) == 1
