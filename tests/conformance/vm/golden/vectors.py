"""The golden file of digests."""

import json
from functools import cache
from pathlib import Path

VECTORS = Path(__file__).with_name("same_bits.json")


@cache
def golden() -> dict[str, str]:
    """SHA-256 in hexadecimal by the name of a case."""
    found: dict[str, str] = json.loads(VECTORS.read_text("utf-8"))
    return found
