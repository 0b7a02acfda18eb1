"""Tensors that a job is given, from whatever holds numbers to one file."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bcai.base.errors import InputError
from bcai.bridge.tensor_views import arrays_of
from bcai.jobs.spec import Mount
from bcai.sdk.draft import draft_job


class Exported:
    """Something of another library that hands its numbers out."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def sent(**inputs: Any) -> dict[str, Any]:
    (file,) = draft_job("1", inputs=inputs).files
    assert (file.mount, file.path) == (Mount.INPUT, "inputs.safetensors")
    assert file.content is not None
    assert file.size == len(file.content)
    return arrays_of(file.content)


def test_arrays_tensors_and_plain_numbers_travel() -> None:
    found = sent(
        x=np.arange(6.0).reshape(2, 3).T,
        h=np.array([1, 2], ml_dtypes.bfloat16),
        d=Exported(np.arange(3)),
        n=3,
        rows=[[1, 2], [3, 4]],
    )
    assert found["x"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["h"].dtype == ml_dtypes.bfloat16
    assert found["d"].tolist() == [0, 1, 2]
    assert found["n"].shape == ()
    assert found["rows"].tolist() == [[1, 2], [3, 4]]
    assert draft_job("1").files == draft_job("1", inputs={}).files == ()


def test_torch_tensors_travel_with_their_type() -> None:
    torch: Any = pytest.importorskip("torch", reason="needs the extra `ml`")
    weight = torch.ones(2, 3, requires_grad=True)
    found = sent(w=weight.t(), h=weight.detach().to(torch.bfloat16))
    assert found["w"].shape == (3, 2)
    assert found["h"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"x": object()}, "input 'x': found object, expected an array or tensor of numbers"),
        ({"x": np.array(["a"])}, "inputs: 'x' has the type str32; expected one of bool"),
        ({"x": [[1], [1, 2]]}, "input 'x': "),
        ({"": 1}, "inputs: found the name '', expected printable text"),
        ({1: 1}, "inputs: found the name 1, expected printable text"),
    ],
)
def test_what_is_no_tensor_is_named(inputs: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        draft_job("1", inputs=inputs)
    assert says in str(caught.value)
