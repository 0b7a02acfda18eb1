"""Plain output values as strict JSON: not-a-number and infinities become `{"$number": "nan"}`.

A dict of the job's own that looks like one of these marks is wrapped, as `{"$dict": {...}}`, so
that every value comes back as it was. Only text that is no Unicode comes back escaped.
"""

import math
from typing import cast

from bcai.base.errors import FormatError

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_NUMBER = "$number"
_DICT = "$dict"
DEPTH_MAX = 64  # deeper nesting is refused, so that no recursion is unbounded


def encode_value(value: object, depth: int = 0) -> object:
    """Turn a value into strict JSON data.

    Raises
    ------
    FormatError
        It holds something else than numbers, strings, None, lists, and dicts with string keys.
    """
    if depth > DEPTH_MAX:
        raise FormatError(f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: repr(float(value))}  # a subclass, such as NumPy's, prints otherwise
    if isinstance(value, str):
        return _whole_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return [encode_value(item, depth + 1) for item in items]
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        if all(isinstance(key, str) for key in pairs):
            encoded = {
                _whole_text(cast("str", key)): encode_value(pairs[key], depth + 1) for key in pairs
            }
            return {_DICT: encoded} if _looks_marked(encoded) else encoded
    raise FormatError(f"not a plain value: {type(cast('object', value)).__name__}")


def decode_value(data: object) -> object:
    """Undo `encode_value`."""
    if isinstance(data, list):
        return [decode_value(item) for item in cast("list[object]", data)]
    if not isinstance(data, dict):
        return data
    pairs = cast("dict[str, object]", data)
    name = pairs.get(_NUMBER)
    if pairs.keys() == {_NUMBER} and isinstance(name, str) and name in _NON_FINITE:
        return _NON_FINITE[name]
    inner = pairs.get(_DICT)
    if pairs.keys() == {_DICT} and isinstance(inner, dict):
        pairs = cast("dict[str, object]", inner)
    return {key: decode_value(item) for key, item in pairs.items()}


def _whole_text(text: str) -> str:
    """Show half a surrogate pair as its escape: no message can carry the thing itself."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _looks_marked(pairs: dict[str, object]) -> bool:
    """Whether a reader would take a plain dict for one of our marks."""
    return pairs.keys() == {_NUMBER} or pairs.keys() == {_DICT}
