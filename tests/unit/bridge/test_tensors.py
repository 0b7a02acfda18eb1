"""The guest's writer, the host's check and the safetensors library must agree on the format."""

import contextlib
import json
import os
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.bridge.sandbox.safetensors_check import check_safetensors
from bcai.bridge.tensor_file import TensorFile
from bcai.bridge.tensor_views import headers_of

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")


def written(tensors: dict[str, object]) -> bytes:
    file = TensorFile(tensors)
    descriptor = os.memfd_create("test")
    try:
        file.write(descriptor, 0)
        assert os.fstat(descriptor).st_size == file.size
        return os.pread(descriptor, file.size, 0)
    finally:
        os.close(descriptor)


SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=3)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), max_size=5))
def test_what_is_written_is_read_by_the_library_and_passes_the_check(
    kinds: list[tuple[str, list[int]]],
) -> None:
    arrays: dict[str, object] = {
        f"t{i}": np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
        for i, (dtype, shape) in enumerate(kinds)
    }
    content = written(arrays)
    found = safetensors.numpy.load(content)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], np.asarray(array))
    checked = check_safetensors(content)
    assert checked == {f"t{i}": (dtype, tuple(shape)) for i, (dtype, shape) in enumerate(kinds)}


def test_tensors_are_listed_as_given_and_those_of_larger_elements_lie_first() -> None:
    content = written({"z": np.ones(1, np.int8), "b": np.ones(2), "a": np.ones(1, np.float32)})
    fields = headers_of(content)
    assert list(fields) == ["z", "b", "a"]
    assert [fields[name]["data_offsets"] for name in "zba"] == [[20, 21], [0, 16], [16, 20]]


@given(st.binary(max_size=200))
def test_any_bytes_are_checked_or_refused(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        check_safetensors(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
PARTS = st.fixed_dictionaries(
    {}, optional={"dtype": JSON | st.just("F32"), "shape": JSON, "data_offsets": JSON}
)


@given(st.dictionaries(st.text(), PARTS | JSON), st.binary(max_size=20))
def test_any_header_is_checked_or_refused(header: dict[str, Any], body: bytes) -> None:
    with contextlib.suppress(FormatError):
        check_safetensors(file_of(header, body))


@given(st.data())
def test_a_changed_byte_of_the_header_never_passes_as_another_layout(data: st.DataObject) -> None:
    content = bytearray(written({"a": np.ones((2, 3)), "b": np.ones(4, "int8")}))
    end = 8 + int.from_bytes(content[:8], "little")
    at = data.draw(st.integers(0, end - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        found = check_safetensors(bytes(content))
    except FormatError:
        return
    sizes = {"float64": 8, "int64": 8, "uint64": 8}
    total = sum(int(np.prod(shape)) * sizes.get(dtype, 1) for dtype, shape in found.values())
    assert total <= len(content) - end


def file_of(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def part(begin: int, end: int, dtype: str = "U8", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        file_of({"a": part(0, 2), "b": part(1, 3)}, b"123"),  # overlap
        file_of({"a": part(0, 1), "b": part(2, 3)}, b"123"),  # gap
        file_of({"a": part(0, 2)}, b"123"),  # rest
        file_of({"a": part(0, 4)}, b"123"),  # beyond the end
        file_of({"a": part(0, 3, "F32")}, b"123"),  # shape and length disagree
        file_of({"a": part(0, 3, "PICKLE")}, b"123"),
        file_of({"a": part(0, 3, shape=[-1, -3])}, b"123"),
        file_of({"a": part(0, 3, shape=[True, 3])}, b"123"),
        file_of({"a": part(0, 0, shape=[0] * 65)}, b""),
        file_of({"a": {"dtype": "U8"}}, b""),
        (1 << 40).to_bytes(8, "little") + b"{}",
        b"",
        b"short",
    ],
)
def test_false_layouts_are_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        check_safetensors(content)


def test_orders_and_byte_orders_of_arrays_are_undone() -> None:
    arrays: dict[str, object] = {
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10)[::3],
        "big": np.arange(3, dtype=">i4"),
    }
    found = safetensors.numpy.load(written(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], np.asarray(array))


def test_types_without_a_name_in_the_format_are_refused() -> None:
    with pytest.raises(FormatError, match="complex128"):
        TensorFile({"a": np.ones(2, complex)})


def test_torch_tensors_of_every_kind() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `ml`")
    import safetensors.torch

    weight = torch.randn(3, 4, requires_grad=True)
    tensors = {
        "leaf": weight,
        "again": weight,  # tied
        "transposed": weight.t(),
        "half": torch.randn(2, 2).to(torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(True),
    }
    content = written(dict(tensors))
    check_safetensors(content)
    found = safetensors.torch.load(content)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor.detach()), name
        assert found[name].dtype == tensor.dtype
