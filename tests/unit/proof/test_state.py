"""Hashes of tensors: names, types, contents and their number are all in the root."""

import struct
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.base.merkle import is_included, leaf_hash
from bcai.proof.state import (
    PARALLEL_BYTES,
    StateHasher,
    canonical_tensors,
    content_hash,
    decode_tensor,
    hash_tensors,
    tensors_root,
    tree_of,
)
from bcai.vm.isa.types import Array, DType
from bcai.vm.program import cbor

PAIR: dict[str, Array] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.asarray(-1, np.int64),
}
GOLDEN = "975e993d0cbcd2dff2d556d76db6a4969ac1516341e5d409b33b301b2972789e"


def test_golden_root() -> None:
    assert tensors_root(PAIR).hex() == GOLDEN


def test_a_leaf_is_what_the_module_says() -> None:
    content = blake3(struct.pack("<6f", *range(6))).digest()
    written = cbor.encode(["w", int(DType.float32), [2, 3], content])
    assert [each.name for each in hash_tensors(PAIR)] == ["b", "w"]
    assert hash_tensors(PAIR)[1].leaf == leaf_hash(written)


def test_every_part_is_in_the_root() -> None:
    w, b = PAIR["w"], PAIR["b"]
    changed: list[dict[str, Array]] = [
        PAIR,
        {"w": w},
        {"w": w, "c": b},
        {"w": w.reshape(3, 2), "b": b},
        {"w": w.view(np.int32), "b": b},
        {"w": -w, "b": b},
        {"w": w, "b": b.reshape(1)},
        {**PAIR, "x": np.empty(0, np.float32)},
        {},
    ]
    assert len({tensors_root(each) for each in changed}) == len(changed)


@given(st.permutations(["a", "B", "\u00e9", "zz", "z"]))
def test_the_order_of_insertion_says_nothing(names: list[str]) -> None:
    plain = {name: np.asarray(ord(name[0]), np.int32) for name in sorted(names)}
    assert tensors_root({name: plain[name] for name in names}) == tensors_root(plain)


def test_layout_in_memory_says_nothing() -> None:
    w = PAIR["w"]
    turned = np.asfortranarray(w)
    spread = np.zeros((2, 6), np.float32)
    spread[:, ::2] = w
    assert content_hash(turned) == content_hash(spread[:, ::2]) == content_hash(w)


@pytest.mark.parametrize("dtype", [each for each in DType if each.is_float])
def test_not_a_number_has_one_pattern(dtype: DType) -> None:
    bits = np.dtype(f"u{dtype.itemsize}")
    all_ones = np.asarray(np.iinfo(bits).max, bits).view(dtype.numpy)
    plain = np.asarray(float("nan")).astype(dtype.numpy)
    one, two = canonical_tensors({"x": all_ones}), canonical_tensors({"x": -plain})
    assert tensors_root(one) == tensors_root(two) == tensors_root(canonical_tensors({"x": plain}))
    assert tensors_root({"x": all_ones}) != tensors_root(one)  # the control: patterns differ


def test_truth_values_are_one_bit() -> None:
    odd = np.asarray([2, 0], np.uint8).view(np.bool_)
    plain = np.asarray([True, False])
    assert tensors_root(canonical_tensors({"x": odd})) == tensors_root({"x": plain})
    assert canonical_tensors({"x": odd[0]})["x"].shape == ()


def test_large_tensors_have_the_hash_of_their_bytes() -> None:
    large = np.arange(PARALLEL_BYTES // 4 + 3, dtype=np.float32)
    assert content_hash(large) == blake3(large.tobytes()).digest()


def test_a_hasher_gives_the_same_root_and_leaves_fixed_tensors_alone() -> None:
    hasher = StateHasher(fixed=["b"])
    assert hasher.root(PAIR) == tensors_root(PAIR)
    changed = {**PAIR, "w": PAIR["w"] + 1}
    assert hasher.root(changed) == tensors_root(changed)
    reshaped = {**PAIR, "w": PAIR["w"].reshape(6)}
    assert hasher.root(reshaped) == tensors_root(reshaped)
    assert hasher.root({"w": PAIR["w"]}) == tensors_root({"w": PAIR["w"]})
    assert StateHasher(fixed=["b"]).root({**PAIR, "b": PAIR["b"] + 1}) != tensors_root(PAIR)


def test_one_tensor_is_proved_by_its_path() -> None:
    hashes = hash_tensors(PAIR)
    tree = tree_of(hashes)
    assert tree.head.digest == tensors_root(PAIR)
    assert is_included(tree.head, 1, hashes[1].leaf, tree.path(1))


@pytest.mark.parametrize("shape", [["2"], [-1], [True], [2.0], [[2]]])
def test_what_is_no_shape_is_named(shape: list[Any]) -> None:
    with pytest.raises(FormatError, match="tensor 'x': found sizes"):
        decode_tensor("x", 1, shape, bytes(32))
    with pytest.raises(FormatError, match="no element type 99"):
        decode_tensor("x", 99, [2], bytes(32))


def test_an_unknown_element_type_is_named() -> None:
    with pytest.raises(FormatError, match="complex64"):
        canonical_tensors({"x": np.zeros(1, np.complex64)})
