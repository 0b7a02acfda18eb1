"""Content addresses: `blake3:` followed by 64 hexadecimal digits."""

import re
from collections.abc import Iterable

from blake3 import blake3

from bcai.base.errors import FormatError

_PATTERN = re.compile(r"blake3:[0-9a-f]{64}\Z")


def digest_of(data: bytes) -> str:
    """Content address of some bytes."""
    return "blake3:" + blake3(data).hexdigest()


def digest_of_chunks(chunks: Iterable[bytes]) -> str:
    """Content address of a stream, read once."""
    hasher = blake3()
    for chunk in chunks:
        hasher.update(chunk)
    return "blake3:" + hasher.hexdigest()


def parse_digest(text: str) -> str:
    """Return `text` if it is a content address.

    Raises
    ------
    FormatError
        It is not `blake3:` and 64 lower-case hexadecimal digits.
    """
    if not _PATTERN.match(text):
        raise FormatError(
            f"not a content address: {text[:80]!r}; expected 'blake3:' and 64 hexadecimal digits"
        )
    return text
