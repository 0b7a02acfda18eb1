r"""A trace as canonical bytes: what a node keeps of a run, and hands on.

b"bcai-trace\x00" then canonical CBOR of [version, [checkpoint, ...]]
"""

from typing import Any

from bcai.base.errors import FormatError
from bcai.proof.canonical import decode_canonical
from bcai.proof.recorder import Trace, decode_checkpoint, encode_checkpoint
from bcai.vm.program import cbor

MAGIC = b"bcai-trace\x00"
VERSION = 1
BYTES_MAX = 1 << 32


def encode_trace(trace: Trace) -> bytes:
    """Canonical bytes of a trace."""
    return MAGIC + cbor.encode([VERSION, [encode_checkpoint(each) for each in trace.checkpoints]])


def decode_trace(data: bytes) -> Trace:
    """Read canonical bytes.

    Raises
    ------
    FormatError
        They are not the canonical encoding of a trace.
    """
    return decode_canonical(data, MAGIC, "trace", BYTES_MAX, _build, encode_trace)


def _build(fields: Any) -> Trace:
    version, checkpoints = fields
    if version != VERSION:
        raise FormatError(f"version {version!r} is not known; expected {VERSION}")
    return Trace(tuple(decode_checkpoint(each) for each in checkpoints))
