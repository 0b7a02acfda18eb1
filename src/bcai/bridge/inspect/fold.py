"""Texts that are computed from constants alone: how hidden names are spelt out."""

import ast
import base64
import binascii
import codecs
from collections.abc import Callable, Mapping

from bcai.bridge.inspect.limits import FOLD_CHARACTERS_MAX, FOLD_DEPTH_MAX

_ROTATED = ("rot13", "rot_13")
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "b64decode": base64.b64decode,
    "urlsafe_b64decode": base64.urlsafe_b64decode,
    "b32decode": base64.b32decode,
    "b16decode": base64.b16decode,
    "unhexlify": binascii.unhexlify,
}


class Folder:
    """Folds expressions of one file. `constants` are names that are assigned once."""

    def __init__(self, constants: Mapping[str, ast.expr]) -> None:
        self._constants = constants

    def text(self, node: ast.AST) -> str | None:
        """Return the text that an expression gives, or None if that is not known."""
        found = self._fold(node, 0)
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        return found if isinstance(found, str) else None

    def _fold(self, node: ast.AST, depth: int) -> str | bytes | None:
        if depth > FOLD_DEPTH_MAX:
            return None
        found = self._one(node, depth + 1)
        return found if found is None or len(found) <= FOLD_CHARACTERS_MAX else None

    def _one(self, node: ast.AST, depth: int) -> str | bytes | None:
        match node:
            case ast.Constant(value=str() | bytes() as value):
                return value
            case ast.Name(id=name) if name in self._constants:
                return self._fold(self._constants[name], depth)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self._fold(left, depth), self._fold(right, depth)])
            case ast.JoinedStr(values=values):
                return _joined([self._fold(value, depth) for value in values[:100]])
            case ast.FormattedValue(value=value, format_spec=None):
                return self._fold(value, depth)
            case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=None, step=step)):
                return self._reversed(value, step, depth)
            case ast.Call(func=function, args=arguments):
                return self._call(function, arguments, depth)
            case _:
                return None

    def _reversed(self, value: ast.AST, step: ast.AST | None, depth: int) -> str | bytes | None:
        text = self._fold(value, depth)
        match step:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
                return None if text is None else text[::-1]
            case _:
                return None

    def _call(self, function: ast.AST, arguments: list[ast.expr], depth: int) -> str | bytes | None:
        match function, arguments:
            case ast.Name(id="chr"), [ast.Constant(value=int() as number)]:
                return chr(number) if 0 <= number < 0x110000 else None
            case ast.Attribute(value=value, attr="join"), [
                ast.List(elts=parts) | ast.Tuple(elts=parts)
            ]:
                between = self._fold(value, depth)
                if between is None or len(parts) > 10_000:
                    return None
                return _joined([self._fold(part, depth) for part in parts], between)
            case ast.Attribute(value=value, attr="encode" | "decode"), []:
                return _other_kind(self._fold(value, depth))
            case ast.Attribute(attr=name) | ast.Name(id=name), [first, *rest]:
                return self._decoded(name, first, rest, depth)
            case _:
                return None

    def _decoded(
        self, name: str, first: ast.AST, rest: list[ast.expr], depth: int
    ) -> str | bytes | None:
        text = self._fold(first, depth)
        if text is None:
            return None
        try:
            if name in _DECODERS:
                return _DECODERS[name](text.encode() if isinstance(text, str) else text)
            if name == "fromhex" and isinstance(text, str):
                return bytes.fromhex(text)
            if name == "decode" and rest and isinstance(text, str):
                match rest[0]:
                    case ast.Constant(value=str() as codec) if codec in _ROTATED:
                        return codecs.decode(text, "rot13")
                    case _:
                        return None
        except (ValueError, UnicodeError):
            return None
        return text if name in ("str", "bytes") and isinstance(text, str) else None


def _joined(parts: list[str | bytes | None], between: str | bytes = "") -> str | bytes | None:
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts) and isinstance(between, str):
        whole = sum(map(len, texts)) + len(between) * len(texts)
        return between.join(texts) if whole <= FOLD_CHARACTERS_MAX else None
    blobs = [part for part in parts if isinstance(part, bytes)]
    if len(blobs) == len(parts) and sum(map(len, blobs)) <= FOLD_CHARACTERS_MAX:
        return b"".join(blobs) if between in ("", b"") else None
    return None


def _other_kind(value: str | bytes | None) -> str | bytes | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else value.encode("utf-8", "replace")
