"""What a model says, in batches, and how well it does."""

from collections.abc import Callable

import numpy as np
import pytest

from bcai import InputError, evaluate, predict
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def product(batch: int = 4, *, outputs: int = 1) -> VerifiedProgram:
    build = Builder()
    x = build.input("x", f"float32[{batch},3]")
    y = x @ build.parameter("w", "float32[3,4]")
    return build.finish(**{f"y{index}": y * float(index + 1) for index in range(outputs)})


def test_the_last_batch_may_be_a_part() -> None:
    found = predict(product(), X, parameters={"w": W})
    np.testing.assert_allclose(found, X @ W, rtol=1e-5)
    whole = predict(product(10), X, parameters={"w": W})
    assert np.array_equal(found, whole)  # a row's bits do not depend on its batch


def test_one_of_several_outputs_is_named() -> None:
    model = product(outputs=2), {"w": W}
    first, second = (predict(model, {"x": X}, output=name) for name in ("y0", "y1"))
    assert (second == 2 * first).all()
    with pytest.raises(InputError, match="the model has y0, y1"):
        predict(model, X)
    with pytest.raises(InputError, match="the model has no 'y2'"):
        predict(model, X, output="y2")


def test_a_class_that_the_model_does_not_have_is_no_number() -> None:
    """NumPy would take -1 for the last class."""
    model, options = product(), {"parameters": {"w": W}}
    for wrong in (-1, 4):
        target = np.full(10, wrong)
        for metric in ("accuracy", "cross_entropy"):
            with pytest.raises(InputError, match=f"found class {wrong}, expected 0 to 3"):
                evaluate(model, (X, target), metric, **options)  # pyright: ignore[reportArgumentType]


def test_no_rows_at_once_are_refused() -> None:
    for wrong in (0, "8"):
        with pytest.raises(InputError, match=f"batch_size: found {wrong!r}"):
            predict(product(), X, parameters={"w": W}, batch_size=wrong)  # pyright: ignore[reportArgumentType]


def test_a_model_whose_output_has_no_row_for_each_example_is_refused() -> None:
    def model(write: Callable[[Symbol], Symbol], of: str = "float32[4,3]") -> VerifiedProgram:
        build = Builder()
        return build.finish(y=write(build.input("x", of)))

    assert predict(model(lambda x: x), X).shape == (10, 3)
    for wrong in (model(lambda x: x.sum(0, 1)), model(lambda x: x.permute(1, 0))):
        with pytest.raises(InputError, match="the batch on the first axis of all: 'x' is float32"):
            predict(wrong, X)
    with pytest.raises(InputError, match=r"'x' is float32\[\]"):
        predict(model(lambda x: x, "float32[]"), X[:, 0])


def test_metrics_are_what_they_say() -> None:
    scores = X @ W
    target = np.arange(10) % 4
    found = evaluate((product(), {"w": W}), (X, target), ["accuracy", "cross_entropy"])
    assert found["accuracy"] == (scores.argmax(1) == target).mean()
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = -np.log(shares[np.arange(10), target]).mean()
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)
    exact = evaluate((product(), {"w": W}), {"x": X, "target": scores + 1}, ["mse", "mae"])
    assert exact == {"mse": pytest.approx(1.0, rel=1e-4), "mae": pytest.approx(1.0, rel=1e-4)}


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"z": X}, "takes no 'z'"),
        ((X, X), "found 2, the model takes 1: x"),
        (X[:0], "expected the same number of rows, at least one"),
        (X[:, :2], r"float32\[4,2\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        predict(product(), inputs, parameters={"w": W})


def test_what_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(InputError, match="parameters: w have no value"):
        predict(product(), X)
    with pytest.raises(InputError, match="no 'acuracy'; did you mean 'accuracy'"):
        evaluate((product(), {"w": W}), (X, X), ["acuracy"])
    with pytest.raises(InputError, match="expected a whole number for each row"):
        evaluate((product(), {"w": W}), (X, X[:, 0]))
    with pytest.raises(InputError, match="target: found shape"):
        evaluate((product(), {"w": W}), (X, X), ["mse"])
