"""Trained weights go back into a module of PyTorch."""

from typing import Any

import numpy as np
import pytest

from bcai.base.errors import InputError
from bcai.sdk.torch import to_torch

torch = pytest.importorskip("torch", reason="needs the extra `ml`")


def test_arrays_and_tensors_become_the_weights() -> None:
    module = torch.nn.Linear(2, 1)
    given = {
        "weight": np.array([[1, 2]], np.float32),
        "bias": torch.tensor([3.0], requires_grad=True),
    }
    assert to_torch(given, module) is module
    assert module(torch.ones(1, 2)).item() == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weigth": np.zeros((1, 2))}, "Linear has no 'weigth'"),
        ({"weight": np.zeros(2)}, r"'weight' is \(2,\), the module has \(1, 2\)"),
        ({"weight": [[1, 2]]}, "'weight' is list, expected an array or a tensor"),
        ([1], "found list, expected what fit returned"),
    ],
)
def test_what_does_not_fit_is_named(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        to_torch(given, torch.nn.Linear(2, 1))
