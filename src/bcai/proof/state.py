"""The hash of named tensors: a tree over them, in ascending order of their names' UTF-8 bytes.

A leaf is canonical CBOR of [name, element type, [sizes], BLAKE3 of the content], and content is the
elements row-major, each with its lowest byte first; not-a-number has its one pattern. Whatever
comes out of a backend has that pattern already; all else goes through `canonical_tensors`.
"""

import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.base.merkle import HEAD, LEAF, Tree, TreeHead, leaf_hash, merkle_root, tree_head
from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program import cbor

PARALLEL_BYTES = 1 << 22
"""Content of this size is hashed by several threads: below, starting them costs more."""
_IS_SWAPPED = sys.byteorder == "big"
_COPIED_BYTES = 4096
"""Below, a copy is made faster than a view."""


@dataclass(frozen=True, slots=True)
class TensorHash:
    """A tensor by its name, type and content's hash."""

    name: str
    type: TensorType
    content: bytes

    @property
    def leaf(self) -> bytes:
        """Hash of its leaf."""
        return leaf_hash(_prefix(self.name, self.type) + self.content)


def content_hash(array: Array) -> bytes:
    """BLAKE3 of a canonical tensor's elements."""
    if array.nbytes < _COPIED_BYTES:
        return blake3(content_bytes(array)).digest()
    if array.nbytes < PARALLEL_BYTES:
        return blake3(_view_bytes(array)).digest()
    return blake3(_view_bytes(array), max_threads=blake3.AUTO).digest()


def content_bytes(array: Array) -> bytes:
    """The elements as they are hashed."""
    return array.byteswap().tobytes() if _IS_SWAPPED else array.tobytes()


def canonical_tensors(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The same values, with one pattern for not-a-number and 0 or 1 for truth values.

    Raises
    ------
    FormatError
        The instruction set has no such element type.
    """
    found: dict[str, Array] = {}
    for name, array in tensors.items():
        plain = canonical(np.asarray(array))
        found[name] = np.asarray(plain.view(np.uint8) != 0) if plain.dtype == np.bool_ else plain
    return found


def hash_tensors(tensors: Mapping[str, Array]) -> tuple[TensorHash, ...]:
    """The hash of each canonical tensor, in the order of the tree."""
    return tuple(
        TensorHash(name, TensorType.of(tensors[name]), content_hash(tensors[name]))
        for name in _in_order(tensors)
    )


def head_of(hashes: Iterable[TensorHash]) -> TreeHead:
    """Head of the tree over tensors, given in its order."""
    return tree_head([each.leaf for each in hashes])


def tree_of(hashes: Iterable[TensorHash]) -> Tree:
    """The tree over tensors, given in its order."""
    return Tree([each.leaf for each in hashes])


def tensors_root(tensors: Mapping[str, Array]) -> bytes:
    """32 bytes that identify canonical tensors, their names and how many there are."""
    return head_of(hash_tensors(tensors)).digest


class StateHasher:
    """Hashes the same set of tensors again and again, as a run does.

    `fixed` are names whose tensors never change: they are hashed once.
    """

    def __init__(self, fixed: Collection[str] = ()) -> None:
        self._fixed = frozenset(fixed)
        self._known: dict[str, _Known] = {}
        self._head = b""

    def root(self, tensors: Mapping[str, Array]) -> bytes:
        """`tensors_root` of them."""
        if tensors.keys() != self._known.keys():
            self._known = {name: _Known() for name in _in_order(tensors)}
            self._head = HEAD + len(tensors).to_bytes(8, "big")
        leaves: list[bytes] = []
        for name, known in self._known.items():
            leaf, array = known.leaf, tensors[name]
            if leaf is None:
                if known.shape != array.shape or known.dtype != array.dtype:
                    known.dtype, known.shape = array.dtype, array.shape
                    known.prefix = LEAF + _prefix(name, TensorType.of(array))
                leaf = blake3(known.prefix + content_hash(array)).digest()
                if name in self._fixed:
                    known.leaf = leaf
            leaves.append(leaf)
        return blake3(self._head + merkle_root(leaves)).digest()


@dataclass(slots=True)
class _Known:
    """What stays the same of a tensor from one time to the next."""

    shape: tuple[int, ...] | None = None
    dtype: "np.dtype[np.generic] | None" = None
    prefix: bytes = b""
    leaf: bytes | None = None


def encode_tensor(tensor: TensorHash) -> list[object]:
    """A tensor's hash as a value of canonical CBOR."""
    return [tensor.name, int(tensor.type.dtype), list(tensor.type.shape), tensor.content]


def decode_tensor(name: str, dtype: int, shape: Iterable[int], content: bytes) -> TensorHash:
    """Undo `encode_tensor`. Raises FormatError."""
    sizes = tuple(shape)
    if any(type(size) is not int or size < 0 for size in sizes):
        raise FormatError(f"tensor {name!r}: found sizes {sizes!r}, expected whole numbers from 0")
    try:
        return TensorHash(name, TensorType(DType(dtype), sizes), content)
    except ValueError as error:
        raise FormatError(f"tensor {name!r}: no element type {dtype!r}") from error


def _prefix(name: str, type_: TensorType) -> bytes:
    """The leaf's bytes up to the content's hash."""
    empty = TensorHash(name, type_, bytes(32))
    return cbor.encode(encode_tensor(empty))[:-32]


def _in_order(tensors: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(tensors, key=str.encode))


def _view_bytes(array: Array) -> memoryview:
    if _IS_SWAPPED:
        array = array.byteswap()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
