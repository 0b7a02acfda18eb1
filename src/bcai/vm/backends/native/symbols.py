"""What an object file leaves to be found elsewhere: next to nothing, or bits would be at stake.

Note [No libm]
    LLVM may turn an operation that a processor lacks into a call of libm, and the loader would find
    it in this very process: other bits, and nobody told. So nothing is loaded that asks for more
    than moving bytes.
"""

import struct

BYTES_ONLY = frozenset({"memcpy", "memmove", "memset"})
"""What LLVM may call for copying and filling."""

_SYMBOL_TABLE, _UNDEFINED = 2, 0
_SECTION, _SYMBOL = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBH")


def undefined_symbols(content: bytes) -> set[str]:
    """Names that an ELF64 object, little-endian, leaves undefined.

    Source: System V Application Binary Interface, chapter 4, "Object Files".
    """
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    sections: list[tuple[int, ...]] = [
        _SECTION.unpack_from(content, table + index * size) for index in range(count)
    ]
    names: set[str] = set()
    for _, kind, _, _, place, length, link, _, _, step in sections:
        if kind != _SYMBOL_TABLE:
            continue
        strings = sections[link][4]
        for at in range(place + step, place + length, step):  # the first symbol stands for none
            name, _, _, section = _SYMBOL.unpack_from(content, at)
            if section == _UNDEFINED:
                start = strings + name
                names.add(content[start : content.index(b"\0", start)].decode())
    return names
