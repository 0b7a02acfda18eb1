r"""Questions and answers of a dispute as canonical bytes: what travels between the two sides.

b"bcai-dispute\x00" then canonical CBOR of [version, kind, field, ...], or of [version, null] for
"nothing to say". The kind is the place in `_KINDS`, the fields stand in the order of the
dataclass; a dataclass within it is the array of its own fields.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from bcai.base.errors import FormatError
from bcai.proof.canonical import decode_canonical
from bcai.proof.messages import (
    AskCheckpoint,
    AskEvidence,
    AskLeaf,
    AskNodes,
    AskStep,
    AskSteps,
    CheckpointPair,
    EndEvidence,
    Nodes,
    Opened,
    OperandEvidence,
    Reply,
    Request,
    RowsEvidence,
    StepRoots,
    StepTop,
    TensorEvidence,
)
from bcai.vm.isa.types import DType
from bcai.vm.program import cbor

MAGIC = b"bcai-dispute\x00"
VERSION = 1
REQUEST_BYTES_MAX = 1 << 10
REPLY_BYTES_MAX = 1 << 30
"""The operands of one instruction, at most; both sides and the referee hold them in memory."""

_REQUESTS: Sequence[type] = (AskNodes, AskCheckpoint, AskSteps, AskStep, AskLeaf, AskEvidence)
_REPLIES: Sequence[type] = (
    Opened, Nodes, CheckpointPair, StepRoots, StepTop,
    TensorEvidence, RowsEvidence, OperandEvidence, EndEvidence,
)  # fmt: skip
_KINDS = (*_REQUESTS, *_REPLIES)  # a number never gets another meaning

T = TypeVar("T")


def encode_message(message: Request | Reply) -> bytes:
    """Canonical bytes of a question or an answer."""
    if message is None:
        return MAGIC + cbor.encode([VERSION, None])
    plain = cast("list[Any]", _plain(message))
    return MAGIC + cbor.encode([VERSION, _KINDS.index(type(message)), *plain])


def decode_request(data: bytes) -> Request:
    """Read a question. Raises FormatError."""

    def build(value: Any) -> Request:
        return cast("Request", _message(value, _REQUESTS))

    return decode_canonical(data, MAGIC, "question", REQUEST_BYTES_MAX, build, encode_message)


def decode_reply(data: bytes) -> Reply:
    """Read an answer. Raises FormatError."""

    def build(value: Any) -> Reply:
        return cast("Reply", _message(value, _REPLIES, may_be_none=True))

    return decode_canonical(data, MAGIC, "answer", REPLY_BYTES_MAX, build, encode_message)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return [_plain(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", value)]
    return value if value is None or isinstance(value, bytes | str) else int(cast("int", value))


def _message(value: Any, kinds: Sequence[type], *, may_be_none: bool = False) -> object:
    version, kind, *parts = _array("message", value)
    if version != VERSION or type(version) is not int:
        raise FormatError(f"version: found {version!r}, expected {VERSION}")
    if kind is None and may_be_none and not parts:
        return None
    if type(kind) is not int or not 0 <= kind < len(_KINDS) or _KINDS[kind] not in kinds:
        known = ", ".join(str(_KINDS.index(each)) for each in kinds)
        raise FormatError(f"kind: found {kind!r}, expected one of {known}")
    return _dataclass(_KINDS[kind].__name__, parts, _KINDS[kind])


def _read(name: str, value: Any, kind: Any) -> Any:
    """A value of a type, from its plain form."""
    origin = get_origin(kind)
    if origin is UnionType or origin is Union:
        (other,) = (each for each in get_args(kind) if each is not NoneType)
        return None if value is None else _read(name, value, other)
    if origin is tuple:
        item, _ = get_args(kind)  # tuple[item, ...]
        items = _array(name, value)
        return tuple(_read(f"{name}[{place}]", each, item) for place, each in enumerate(items))
    if is_dataclass(kind):
        return _dataclass(name, value, cast("type", kind))
    if kind is DType:
        return DType(_whole(name, value))
    if kind is int:
        return _whole(name, value)
    if type(value) is not kind:
        raise FormatError(f"{name}: found {type(value).__name__}, expected {kind.__name__}")
    return value


def _dataclass(name: str, value: Any, kind: type) -> object:
    hints = _hints(kind)
    parts = _array(name, value)
    if len(parts) != len(hints):
        raise FormatError(f"{name}: found {len(parts)} fields, expected {len(hints)}")
    pairs = zip(hints.items(), parts, strict=True)
    return kind(*(_read(f"{name}.{field}", part, hint) for (field, hint), part in pairs))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _array(name: str, value: Any) -> list[Any]:
    if type(value) is not list:
        raise FormatError(f"{name}: found {type(value).__name__}, expected an array")
    return cast("list[Any]", value)


def _whole(name: str, value: Any) -> int:
    """No message counts below 0, and none as far as 2^63: whoever reads may add and shift."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise FormatError(f"{name}: found {value!r}, expected a whole number from 0 to 2^63 - 1")
    return value
