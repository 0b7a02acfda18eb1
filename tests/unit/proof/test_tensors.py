"""Tensors in a file's bytes, by name."""

import ml_dtypes
import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save

from bcai.base.errors import FormatError
from bcai.proof.tensors import load_tensors


@pytest.mark.parametrize("name", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_a_file_gives_what_was_saved(name: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(name)
    found = load_tensors(save({"a": array, "none": array[:0]}))
    assert found["a"].dtype == array.dtype
    assert np.array_equal(found["a"], array)
    assert found["none"].shape == (0, 3)


def test_bfloat16_stays_what_it_is() -> None:
    array = np.array([1, 2.5, -0.0], ml_dtypes.bfloat16)
    found = load_tensors(save({"a": array}))["a"]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


def test_what_no_program_has_is_named() -> None:
    content = save({"small": np.ones(3, ml_dtypes.float8_e4m3fn)})
    with pytest.raises(FormatError, match=r"tensor 'small': found F8_E4M3, expected one of BOOL"):
        load_tensors(content)
    with pytest.raises(SafetensorError):
        load_tensors(content[:20])
