"""A data set as rows, and one root over them, so that any single row can be shown to belong to it.

Leaf 0 is the header: canonical CBOR of [number of rows, [[column, element type, [sizes of a row]],
...]], columns in ascending order of their names' UTF-8 bytes. Leaf 1 + i is row i: the bytes of
each column's row i, one after the other in that order; their lengths follow from the header.
"""

import math
import sys
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from blake3 import blake3

from bcai.base.errors import InputError
from bcai.base.merkle import LEAF, Tree, leaf_hash
from bcai.proof.state import canonical_tensors, content_bytes
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program import cbor

_CHUNK_BYTES = 1 << 24  # rows are lined up so many bytes at a time


class Data:
    """Columns with one row per example: `{"x": float32[60000,784], "y": int64[60000]}`.

    Raises
    ------
    InputError
        There is no column, one is a scalar, or they differ in length.
    FormatError
        The instruction set has no such element type.
    """

    def __init__(self, columns: Mapping[str, Array]) -> None:
        if not columns:
            raise InputError("data: found no column, expected at least one")
        canonical = canonical_tensors(columns)
        self.columns = {name: canonical[name] for name in sorted(canonical, key=str.encode)}
        for name, column in self.columns.items():
            if column.ndim == 0:
                raise InputError(f"data column {name!r}: found a scalar, expected rows")
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise InputError(f"data: columns differ in their number of rows: {found}")
        self.rows = next(iter(lengths.values()))

    @property
    def types(self) -> dict[str, TensorType]:
        """Type of one row of each column."""
        return {
            name: TensorType.of(column).with_shape(*column.shape[1:])
            for name, column in self.columns.items()
        }

    @property
    def header(self) -> bytes:
        """Leaf 0."""
        return encode_header(self.rows, self.types)

    @property
    def root(self) -> bytes:
        """32 bytes that identify the rows, their order, number and types."""
        return self.tree.head.digest

    @cached_property
    def tree(self) -> Tree:
        """The tree over header and rows; computed once, so the columns must not change."""
        return Tree([leaf_hash(self.header), *self._row_leaves()])

    def row(self, index: int) -> bytes:
        """Canonical bytes of one row."""
        return b"".join(content_bytes(column[index]) for column in self.columns.values())

    def _row_leaves(self) -> list[bytes]:
        parts = [_as_bytes(column) for column in self.columns.values()]
        width = 1 + sum(part.shape[1] for part in parts)
        leaves: list[bytes] = []
        size = max(1, _CHUNK_BYTES // width)
        for start in range(0, self.rows, size):
            rows = [part[start : start + size] for part in parts]
            marks = np.full((len(rows[0]), 1), LEAF[0], np.uint8)
            block = np.concatenate([marks, *rows], axis=1).reshape(-1).data
            leaves += [
                blake3(block[at : at + width]).digest() for at in range(0, len(block), width)
            ]
        return leaves


def encode_header(rows: int, types: Mapping[str, TensorType]) -> bytes:
    """Canonical bytes of leaf 0; columns in the order of the rows."""
    columns = [[name, int(each.dtype), list(each.shape)] for name, each in types.items()]
    return cbor.encode([rows, columns])


def _as_bytes(column: Array) -> Array:
    """Bytes of each row: uint8[rows, bytes of a row]."""
    if sys.byteorder == "big":
        column = column.byteswap()
    width = column.dtype.itemsize * math.prod(column.shape[1:])
    return column.reshape(-1).view(np.uint8).reshape(len(column), width)
