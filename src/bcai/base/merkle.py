"""Merkle trees: one hash for a list, and short proofs that an entry is in its place.

Leaves and inner nodes are hashed apart, so that neither passes for the other. A root alone does not
say how long its list is; what is committed is a `TreeHead`, which does: a list that was cut short
has another head.

Source: RFC 6962, section 2.1, and RFC 9162, section 2.1.3.2 (checking a path), with BLAKE3 in place
of SHA-256.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

LEAF, NODE, HEAD = b"\x00", b"\x01", b"\x02"
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class TreeHead:
    """Root of a tree, with the number of its leaves."""

    size: int
    root: bytes

    @property
    def digest(self) -> bytes:
        """Both as one hash."""
        return head_digest(self.size, self.root)


class Tree:
    """A tree that is kept whole, to prove its entries one by one.

    `levels[0]` are the leaf hashes; node i of a level is over nodes 2i and 2i + 1 of the one below,
    or is node 2i itself where that is the last.
    """

    __slots__ = ("levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels = [list(leaves)]
        while len(self.levels[-1]) > 1:
            self.levels.append(_above(self.levels[-1]))

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        return TreeHead(len(self.levels[0]), self.levels[-1][0] if self.levels[0] else _EMPTY)

    def path(self, index: int) -> tuple[bytes, ...]:
        """The neighbours on the way from a leaf to the root: its proof."""
        if not 0 <= index < len(self.levels[0]):
            raise IndexError(f"leaf {index} of {len(self.levels[0])}")
        neighbours: list[bytes] = []
        for level in self.levels[:-1]:
            if index ^ 1 < len(level):
                neighbours.append(level[index ^ 1])
            index >>= 1
        return tuple(neighbours)


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return blake3(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return blake3(NODE + left + right).digest()


def head_digest(size: int, root: bytes) -> bytes:
    """A tree's size and root as one hash."""
    return blake3(HEAD + size.to_bytes(8, "big") + root).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over leaf hashes; the empty tree is the hash of nothing."""
    if not leaves:
        return _EMPTY
    level = leaves
    while len(level) > 1:
        level = _above(level)
    return level[0]


def tree_head(leaves: Sequence[bytes]) -> TreeHead:
    """Head of the tree over leaf hashes."""
    return TreeHead(len(leaves), merkle_root(leaves))


def widths(size: int) -> list[int]:
    """How many nodes each level of a tree of so many leaves has, leaves first."""
    found = [size]
    while found[-1] > 1:
        found.append(found[-1] + 1 >> 1)
    return found


def fold(nodes: Sequence[bytes], levels: int) -> list[bytes]:
    """The nodes so many levels above some that stand side by side, the first in an even place."""
    above = list(nodes)
    for _ in range(levels):
        above = _above(above)
    return above


def is_included(head: TreeHead, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether a leaf hash is the entry `index` of the tree with this head, by its path."""
    if not 0 <= index < head.size:
        return False
    last, found, steps = head.size - 1, leaf, iter(path)
    while last > 0:
        if index & 1 or index < last:
            neighbour = next(steps, None)
            if neighbour is None:
                return False
            pair = (neighbour, found) if index & 1 else (found, neighbour)
            found = node_hash(*pair)
        index, last = index >> 1, last >> 1
    return found == head.root and next(steps, None) is None


_EMPTY = blake3(b"").digest()


def _above(level: Sequence[bytes]) -> list[bytes]:
    # Pairing neighbours and carrying a lone last node up gives RFC 6962's tree: its left part is
    # always the largest full power of two.
    paired = [
        blake3(NODE + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)
    ]
    return [*paired, *level[len(level) & ~1 :]]
