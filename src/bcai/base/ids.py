"""Identifiers: a prefix that says the kind, then a number that sorts by time."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case
_RANDOM_BYTES = 10
_DIGITS = 26


def new_id(prefix: str, now_s: float, random: bytes) -> str:
    """Make an identifier such as `job_01jd...`; later ones sort after earlier ones.

    Parameters
    ----------
    prefix
        The kind: `job`, `node`, `key`.
    now_s
        Unix time in seconds; kept to the millisecond.
    random
        At least 10 random bytes.

    Source: ULID, https://github.com/ulid/spec (48 bits of time, 80 random bits).
    """
    if len(random) < _RANDOM_BYTES:
        raise ValueError(f"an identifier needs {_RANDOM_BYTES} random bytes, got {len(random)}")
    number = int(now_s * 1000) << (8 * _RANDOM_BYTES)
    number |= int.from_bytes(random[:_RANDOM_BYTES], "big")
    digits = [_ALPHABET[number >> (5 * place) & 31] for place in reversed(range(_DIGITS))]
    return f"{prefix}_{''.join(digits)}"
