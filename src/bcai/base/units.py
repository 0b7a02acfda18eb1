"""Sizes and durations as people write them: `8GB`, `512MiB`, `90s`, `1h30m`."""

import re

from bcai.base.errors import FormatError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = {
    "": 1, "b": 1,
    "k": KIB, "kb": 1000, "kib": KIB,
    "m": MIB, "mb": 1000**2, "mib": MIB,
    "g": GIB, "gb": 1000**3, "gib": GIB,
    "t": 1024 * GIB, "tb": 1000**4, "tib": 1024 * GIB,
}  # fmt: skip
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*\Z")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_size(value: int | float | str) -> int:
    """Bytes in a size such as `8GB` (decimal), `512MiB` (binary) or a plain number of bytes."""
    if isinstance(value, int | float):
        return int(value)
    match = _SIZE_TEXT.match(value)
    if match is None or match[2].lower() not in _SIZE:
        raise FormatError(
            f"not a size: {value!r}; expected a number and a unit, such as '8GB' or '512MiB'"
        )
    return int(float(match[1]) * _SIZE[match[2].lower()])


def parse_duration_s(value: float | str) -> float:
    """Seconds in a duration such as `90s`, `1h30m` or a plain number of seconds."""
    if isinstance(value, int | float):
        return float(value)
    text = value.strip().lower()
    try:
        return float(text)
    except ValueError:
        pass
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise FormatError(f"not a duration: {value!r}; expected such as '90s', '15m' or '1h30m'")
    return sum(float(number) * _DURATION_S[unit] for number, unit in parts)


def format_count(count: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_size(size: float) -> str:
    """`1536` as `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_limit(size: int) -> str:
    """A size as people give it: `2000000000` as `2 GB`, what is no such number as `format_size`."""
    for unit, step in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if step <= size < 1000 * step and size % (step // 10) == 0:
            return f"{size / step:g} {unit}"
    return format_size(size)


def format_duration_s(seconds: float) -> str:
    """`75.2` as `1m 15s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"
