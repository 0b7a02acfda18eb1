"""The identity of a program: a Merkle root over its header and its instructions.

Source: RFC 6962, section 2.1 (leaf and node separation), with BLAKE3 in place of SHA-256.
"""

from collections.abc import Sequence

from blake3 import blake3

from bcai.vm.program.codec import encode_header, encode_instruction
from bcai.vm.program.program import Program

LEAF, NODE = b"\x00", b"\x01"


def instruction_hashes(program: Program) -> list[bytes]:
    """Hash of each instruction's canonical bytes, as a leaf."""
    return [leaf_hash(encode_instruction(each)) for each in program.instructions]


def program_root(program: Program) -> bytes:
    """32 bytes that identify the program: the root over the header and every instruction."""
    return merkle_root([leaf_hash(encode_header(program)), *instruction_hashes(program)])


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return blake3(LEAF + data).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over leaf hashes; the empty tree is the hash of nothing."""
    if not leaves:
        return blake3(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        # Pairing neighbours and carrying a lone last node up gives RFC 6962's tree: its left
        # part is always the largest full power of two.
        paired = [
            blake3(NODE + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)
        ]
        level = paired + level[len(level) & ~1 :]
    return level[0]
