"""Trees against RFC 6962 written out as the standard words it, and their paths."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.merkle import Tree, TreeHead, is_included, leaf_hash, merkle_root, tree_head

DATA = st.lists(st.binary(max_size=8), max_size=70)


def tree_hash(data: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, with BLAKE3."""
    if not data:
        return blake3(b"").digest()
    if len(data) == 1:
        return blake3(b"\x00" + data[0]).digest()
    split = _split(len(data))
    return blake3(b"\x01" + tree_hash(data[:split]) + tree_hash(data[split:])).digest()


def audit_path(index: int, data: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(data) <= 1:
        return []
    split = _split(len(data))
    if index < split:
        return [*audit_path(index, data[:split]), tree_hash(data[split:])]
    return [*audit_path(index - split, data[split:]), tree_hash(data[:split])]


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def hashes(data: list[bytes]) -> list[bytes]:
    return [leaf_hash(each) for each in data]


@given(DATA)
def test_root_and_paths_are_the_standards(data: list[bytes]) -> None:
    tree = Tree(hashes(data))
    assert tree.head == tree_head(hashes(data)) == TreeHead(len(data), tree_hash(data))
    assert tree.head.root == merkle_root(hashes(data))
    for index in range(len(data)):
        assert list(tree.path(index)) == audit_path(index, data)


@given(DATA.filter(bool), st.data())
def test_a_path_proves_one_leaf_in_one_place(data: list[bytes], draw: st.DataObject) -> None:
    tree = Tree(hashes(data))
    index = draw.draw(st.integers(0, len(data) - 1))
    leaf, path = leaf_hash(data[index]), tree.path(index)
    assert is_included(tree.head, index, leaf, path)
    assert not is_included(tree.head, index, leaf_hash(data[index] + b"!"), path)
    assert not is_included(tree.head, index, leaf, (*path, leaf))
    assert not is_included(tree.head, len(data), leaf, path)
    assert not is_included(tree.head, -1, leaf, path)
    for place in range(len(path)):
        changed = [*path[:place], bytes(32), *path[place + 1 :]]
        assert not is_included(tree.head, index, leaf, changed)
        assert not is_included(tree.head, index, leaf, path[:place])


@given(st.integers(2, 40), st.data())
def test_a_path_does_not_serve_another_place(size: int, draw: st.DataObject) -> None:
    data = [bytes([number]) for number in range(size)]
    tree = Tree(hashes(data))
    right, wrong = draw.draw(st.permutations(range(size)))[:2]
    assert not is_included(tree.head, wrong, leaf_hash(data[right]), tree.path(right))


def test_a_head_says_how_many_leaves_there_are() -> None:
    """An inner node as the only leaf hash has the root of the longer tree, but not its head."""
    pair = hashes([b"a", b"b"])
    long, short = tree_head(pair), tree_head([merkle_root(pair)])
    assert long.root == short.root
    assert long.digest != short.digest
    golden = "4f1d41f359b0c3b64391ed5898b4c9ed251ef7cb82573a79bf9bc6f8325e087e"
    assert long.digest.hex() == golden


def test_no_path_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        Tree(hashes([b"a"])).path(1)
