"""Stored tensors come back exactly, and bytes that are none are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.vm.isa.types import DType
from bcai.vm.runtime.stored_tensor import compress, decompress


@pytest.mark.parametrize("dtype", DType)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (7, 5), (2, 3, 4)])
def test_every_bit_comes_back(dtype: DType, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(0).integers(0, 256, count, np.uint8)
    raw = raw % 2 if dtype is DType.bool else raw
    array = raw.astype(np.uint8).view(dtype.numpy).reshape(shape)
    found = decompress(compress(array))
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, shape, array.tobytes())


def test_strides_do_not_matter_and_weights_get_smaller() -> None:
    array = np.random.default_rng(0).normal(0, 0.02, (128, 256)).astype(np.float32)
    assert decompress(compress(array[::-2, ::3])).tobytes() == array[::-2, ::3].tobytes()
    assert len(compress(array)) < 0.9 * array.nbytes
    assert len(compress(np.zeros((512, 512)))) < 512


def test_damaged_bytes_are_refused() -> None:
    whole = compress(np.arange(100, dtype=np.float32))
    wider = whole[:6] + (101).to_bytes(8, "little") + whole[14:]
    narrower = whole[:6] + (99).to_bytes(8, "little") + whole[14:]
    huge = whole[:6] + (1 << 63).to_bytes(8, "little") + whole[14:]
    none = compress(np.zeros((0, 2), np.float32))
    impossible = none[:14] + b"\xff" * 8 + none[22:]
    for data in (
        *(b"", b"BCT1", whole[:-1], whole + b"x", wider, narrower, huge, b"x" + whole),
        impossible,
    ):
        with pytest.raises(FormatError):
            decompress(data)
    with pytest.raises(FormatError, match="no element type"):
        compress(np.zeros(3, np.complex64))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tensor_or_refused(data: bytes) -> None:
    for each in (data, b"BCT1" + data, b"BCT1\x01\x01\x02" + bytes(7) + data):
        try:
            decompress(each)
        except FormatError:
            continue
