"""The nearest right name for a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """`; did you mean 'timeout'?`, or nothing if no name is near."""
    near = get_close_matches(wrong, list(right), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Say which names there are, the nearest one first: `did you mean 'b'? known: b, a`."""
    known = sorted(map(str, right))
    near = get_close_matches(wrong, known, n=1)
    listed = ", ".join([*near, *(name for name in known if name not in near)])
    return f"did you mean {near[0]!r}? known: {listed}" if near else f"known: {listed}"
