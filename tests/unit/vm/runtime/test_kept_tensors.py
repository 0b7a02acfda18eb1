"""Kept tensors stay what they are, and within their bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import RefusedError
from bcai.vm.isa.types import Array
from bcai.vm.runtime import kept_tensors
from bcai.vm.runtime.kept_tensors import KeptTensors
from bcai.vm.runtime.stored_tensor import compress

BYTES_MAX = 10_000


def zeros(count: int = 4_000) -> Array:
    return np.zeros(count, np.uint8)


def noise(count: int = 4_000, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8)


def kept(*, compressing: bool = True) -> KeptTensors:
    return KeptTensors(BYTES_MAX, compressing=compressing)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First elements of what is compressed, or tried, from now on."""
    found: list[int] = []

    def see(array: Array) -> bytes:
        found.append(int(array[0]))
        return compress(array)

    monkeypatch.setattr(kept_tensors, "compress", see)
    return found


def test_the_one_used_the_longest_ago_is_compressed_first(tried: list[int]) -> None:
    tensors = kept()
    for number in (1, 2):
        tensors.set(str(number), np.full(4_000, number, np.uint8), "it")
    tensors.get("1")
    tensors.set("3", np.full(4_000, 3, np.uint8), "it")
    assert tried == [2]
    assert tensors.nbytes < BYTES_MAX
    tensors.get("2")
    assert tried == [2, 1]


def test_one_that_gains_nothing_is_tried_once_and_stays(tried: list[int]) -> None:
    tensors, rough = kept(), noise()
    rough[0] = 99
    tensors.set("noise", rough, "it")
    for number in range(4):
        tensors.set(str(number), np.full(4_000, number, np.uint8), "it")
    assert tried == [99, 0, 1, 2]
    assert tensors.get("noise") is tensors.get("noise")


def test_what_does_not_fit_even_so_is_refused_and_nothing_is_lost() -> None:
    tensors = kept()
    for number in range(2):
        tensors.set(str(number), noise(seed=number), "it")
    with pytest.raises(RefusedError, match=r"tensor 9: .* max_memory_mb allows"):
        tensors.set("2", noise(), "tensor 9")
    with pytest.raises(RefusedError, match="the program needs"):
        tensors.make_room(3_000, ())
    tensors.make_room(6_000, ("1",))
    for number in range(2):
        found = tensors.get(str(number))
        assert found is not None
        assert found.tobytes() == noise(seed=number).tobytes()
    tensors.set("1", noise(6_000), "a larger one in its place")


def test_a_tensor_for_which_there_is_no_room_now_can_still_be_read() -> None:
    tensors = kept()
    tensors.set("zeros", zeros(), "it")
    for number in range(2):
        tensors.set(str(number), noise(4_500, number), "it")
    before = tensors.nbytes
    found = tensors.get("zeros")
    assert found is not None
    assert found.tobytes() == zeros().tobytes()
    assert tensors.nbytes == before


def test_nothing_is_compressed_where_that_is_off() -> None:
    tensors = kept(compressing=False)
    for number in range(2):
        tensors.set(str(number), zeros(), "it")
    with pytest.raises(RefusedError):
        tensors.set("2", zeros(), "it")
    assert tensors.nbytes == 8_000


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 7_000), st.booleans()),
        max_size=25,
    )
)
def test_it_keeps_what_a_dictionary_keeps_within_its_bytes(
    steps: list[tuple[int, bool, int, bool]],
) -> None:
    tensors, expected = kept(), dict[str, bytes]()
    for number, is_noise, count, sets in steps:
        port = str(number)
        if sets:
            array = noise(count) if is_noise else zeros(count)
            try:
                tensors.set(port, array, "it")
                expected[port] = array.tobytes()
            except RefusedError:
                pass
        found = tensors.get(port)
        assert (None if found is None else found.tobytes()) == expected.get(port)
        assert tensors.nbytes <= BYTES_MAX
    assert list(tensors) == list(expected)
