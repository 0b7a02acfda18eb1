"""The identity of a program: a Merkle root over its header and its instructions."""

from bcai.base.merkle import leaf_hash, merkle_root
from bcai.vm.program.codec import encode_header, encode_instruction
from bcai.vm.program.program import Program


def instruction_hashes(program: Program) -> list[bytes]:
    """Hash of each instruction's canonical bytes, as a leaf."""
    return [leaf_hash(encode_instruction(each)) for each in program.instructions]


def program_root(program: Program) -> bytes:
    """32 bytes that identify the program: the root over the header and every instruction."""
    return merkle_root([leaf_hash(encode_header(program)), *instruction_hashes(program)])
