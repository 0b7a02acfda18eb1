"""A second checker of captured receipts, written from docs/reference/receipt.md alone.

It imports nothing of this project: what it accepts shows that the page says enough, and what the
page does not say, it cannot know. Types inside programs need the instruction set: it leaves them.
"""

import struct
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def check(data: bytes) -> list[str]:
    """What does not fit together; raises ValueError where it is no such receipt."""
    version, terms, programs, spec, commitment, signature, leaves = _fields(
        data, b"bcai-capture-receipt\x00", 7
    )
    _fields(terms, b"bcai-capture\x00", 3)
    at = _fields(commitment, b"bcai-commitment\x00", 18)
    (_, _job, spec_digest, run, count, root, final, outputs, evidence, backend, *_rest) = at
    unmapped, node = at[15], at[16]
    fits = {
        "version": (version, at[0]) == (1, 1),
        "signature of the commitment": _is_signed(
            node, b"bcai-commitment-v1", commitment, signature
        ),
        "signature of the spec": spec is None
        or _is_signed(spec[1], b"bcai-spec-v1", spec[0], spec[2]),
        "spec digest": spec_digest == (None if spec is None else _hash(spec[0])),
        "run digest": run == _hash(terms),
        "trace": (count, root) == (len(leaves), _root([_write(each) for each in leaves])),
        "places": _places_fit(leaves, {_program_root(each): each for each in programs}),
        "named tensors": _named_fit(leaves, final, outputs),
        "evidence": evidence != "exact" or _is_exact(leaves, unmapped, backend),
    }
    return [name for name, does in fits.items() if not does]


def _named_fit(leaves: list[Any], final: bytes, outputs: list[Any]) -> bool:
    named = [[leaf[1], leaf[3], leaf[4], leaf[5]] for leaf in leaves if leaf[0] == 2]
    named.sort(key=lambda tensor: tensor[0].encode())
    table = {name: (type_, content) for name, type_, content in outputs}
    return final == _head([_write(each) for each in named]) and all(
        table.get(name) == (f"{DTYPES[dtype]}[{','.join(map(str, sizes))}]", content)
        for name, dtype, sizes, content in named
    )


def _is_exact(leaves: list[Any], unmapped: list[str], backend: str) -> bool:
    has_own = any(leaf[0] == 0 and leaf[4] for leaf in leaves)
    has_own = has_own or any(text.startswith("operation ") for text in unmapped)
    return not has_own and backend in ("reference", "native", "cuda")


DTYPES = {
    1: "float32", 2: "float64", 3: "float16", 4: "bfloat16", 5: "int8",
    6: "int16", 7: "int32", 8: "int64", 9: "uint8", 10: "bool",
}  # fmt: skip


def _places_fit(leaves: list[Any], programs: dict[bytes, bytes]) -> bool:
    """Every operand is a scalar or a result of an earlier leaf; outputs have its content."""
    results: list[list[bytes]] = []
    for leaf in leaves:
        if leaf[0] == 0:
            results.append([leaf[3]])
            continue
        sources: list[Any] = leaf[2] if leaf[0] == 1 else [leaf[2]]
        for source in sources:
            if isinstance(source, bytes):
                continue
            at, place = int(source[0]), int(source[1])
            if at >= len(results) or place >= len(results[at]):
                return False
        if leaf[0] == 1:
            program = programs.get(leaf[1])
            if program is None:
                return False
            _, inputs, parameters, _, outputs, _ = _fields(program, b"bcai-program\x00", 6)
            if (len(inputs) + len(parameters), len(outputs)) != (len(leaf[2]), len(leaf[3])):
                return False
            results.append(leaf[3])
        else:
            if results[leaf[2][0]][leaf[2][1]] != leaf[5]:
                return False
            results.append([])
    return True


def _program_root(program: bytes) -> bytes:
    version, inputs, parameters, instructions, outputs, metadata = _fields(
        program, b"bcai-program\x00", 6
    )
    header = [version, inputs, parameters, len(instructions), outputs, metadata]
    return _root([_write(header), *(_write(each) for each in instructions)])


def _is_signed(key: bytes, purpose: bytes, message: bytes, signature: bytes) -> bool:
    signed = b"bcai-signature\x00" + purpose + b"\x00" + message
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _hash(data: bytes) -> bytes:
    return blake3(data).digest()


def _root(leaves: list[bytes]) -> bytes:
    row = [_hash(b"\x00" + each) for each in leaves]
    if not row:
        return _hash(b"")
    while len(row) > 1:
        pairs = [_hash(b"\x01" + row[at] + row[at + 1]) for at in range(0, len(row) - 1, 2)]
        row = pairs + row[len(row) - len(row) % 2 :]
    return row[0]


def _head(leaves: list[bytes]) -> bytes:
    return _hash(b"\x02" + struct.pack(">Q", len(leaves)) + _root(leaves))


def _fields(data: bytes, magic: bytes, count: int) -> list[Any]:
    """Fields behind a magic; canonical, since writing them again gives the same bytes."""
    if not data.startswith(magic):
        raise ValueError(f"expected {magic!r}")
    fields, at = _read(data, len(magic))
    if at != len(data) or magic + _write(fields) != data or len(fields) != count:
        raise ValueError("not canonical, or not so many fields")
    return fields


def _read(data: bytes, at: int) -> tuple[Any, int]:
    major, small = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if small == 27:
            return struct.unpack_from(">d", data, at)[0], at + 8
        return {20: False, 21: True, 22: None}[small], at
    length = {24: 1, 25: 2, 26: 4, 27: 8}.get(small, 0)
    number = int.from_bytes(data[at : at + length], "big") if length else small
    at += length
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major == 2:
        return data[at : at + number], at + number
    if major == 3:
        return data[at : at + number].decode(), at + number
    items: list[Any] = []
    for _ in range(number):
        item, at = _read(data, at)
        items.append(item)
    return items, at


def _write(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, int):
        return _start(0, value) if value >= 0 else _start(1, -1 - value)
    if isinstance(value, bytes):
        return _start(2, len(value)) + value
    if isinstance(value, str):
        return _start(3, len(value.encode())) + value.encode()
    return _start(4, len(value)) + b"".join(_write(each) for each in value)


def _start(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    code = next(code for code in range(4) if number < 1 << (8 << code))
    return bytes([major << 5 | 24 + code]) + number.to_bytes(1 << code, "big")
