"""The copy of a result that the host takes, in parts and by several threads."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.bridge.sandbox import outputs
from bcai.bridge.sandbox.messages import Announced
from bcai.bridge.sandbox.outputs import new_output_file, read_output

PART = 16


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "_PART_BYTES", PART)
        yield


@given(st.binary(max_size=10 * PART), st.integers(0, 3 * PART))
def test_a_copy_is_what_lay_in_the_file(content: bytes, offset: int) -> None:
    file = new_output_file(13 * PART)
    try:
        os.pwrite(file, b"before" + content + b"behind", offset)
        announced = Announced("x", "file", offset + len(b"before"), len(content))
        copied = read_output(file, announced).content
        os.pwrite(file, bytes(20 * PART), 0)  # the copy is the host's own
        assert copied == content
    finally:
        os.close(file)


@pytest.mark.parametrize("size", [1, PART + 1, 5 * PART])
def test_what_lies_outside_of_the_file_is_no_result(size: int) -> None:
    file = new_output_file(PART)
    try:
        end = os.fstat(file).st_size
        with pytest.raises(FormatError, match="outside of the output file"):
            read_output(file, Announced("x", "file", end - size + 1, size))
    finally:
        os.close(file)
    file = os.memfd_create("cut")
    try:
        os.write(file, bytes(2 * PART))
        with pytest.raises(FormatError, match="cut off"):
            outputs._read(file, Announced("x", "file", 0, 4 * PART))  # pyright: ignore[reportPrivateUsage]
    finally:
        os.close(file)
