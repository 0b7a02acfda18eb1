"""Numbers and ages as people read them."""

import math


def format_number(value: float) -> str:
    """Four significant digits at least; whole numbers whole; tiny and huge ones with exponent."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    if 1e-3 <= abs(value) < 1:
        return f"{value:.4f}"
    if 1 <= abs(value) < 1e6:
        return f"{value:.6g}"
    return f"{value:.3e}"


def format_age(seconds: float) -> str:
    """`5s`, `12m`, `3h`, `9d`: one short unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
