"""Plain output values as strict JSON: not-a-number and infinities become `{"$number": "nan"}`."""

import math
from typing import cast

from bcai.base.errors import FormatError

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MARK = "$number"
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
        return {_MARK: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return [encode_value(item, depth + 1) for item in items]
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        if all(isinstance(key, str) for key in pairs):
            return {cast("str", key): encode_value(pairs[key], depth + 1) for key in pairs}
    raise FormatError(f"not a plain value: {type(cast('object', value)).__name__}")


def decode_value(data: object) -> object:
    """Undo `encode_value`."""
    if isinstance(data, list):
        return [decode_value(item) for item in cast("list[object]", data)]
    if isinstance(data, dict):
        pairs = cast("dict[str, object]", data)
        if pairs.keys() == {_MARK} and pairs[_MARK] in _NON_FINITE:
            return _NON_FINITE[str(pairs[_MARK])]
        return {key: decode_value(item) for key, item in pairs.items()}
    return data
