r"""What a signed spec orders of a Python job: its code, its inputs, and from how many nodes.

Read from the spec's canonical bytes (`jobs/sign_spec.py` writes them), so that whoever has the
bytes can compute the digests that nodes commit to, and needs nothing else.

    code    BLAKE3 of b"bcai-code\x00" and canonical CBOR of
            [code or null, name of the script, entry or null, [[path, digest, size], ...]]
    inputs  BLAKE3 of b"bcai-inputs\x00" and canonical CBOR of
            [[argument, ...], [[mount, path, digest, size], ...]]

The files are those of the mount `project` for the code, all others for the inputs, in the spec's
order.
"""

from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError
from bcai.vm.program import cbor

_SPEC_MAGIC = b"bcai-spec\x00"
_PROJECT = "project"
_REPLICATED = "replicated"


@dataclass(frozen=True, slots=True)
class PythonOrder:
    """What was ordered; the digests have 32 bytes."""

    name: str
    code: bytes
    inputs: bytes
    nodes: int
    """How many nodes were to do it, each for itself."""


def read_order(spec: bytes) -> PythonOrder:
    """Read the canonical bytes of a spec.

    Raises
    ------
    FormatError
        They are not a spec of a Python job.
    """
    if not spec.startswith(_SPEC_MAGIC):
        raise FormatError(f"byte 0: not a spec, which starts with {_SPEC_MAGIC!r}")
    decoded: Any = cbor.decode(spec[len(_SPEC_MAGIC) :])
    try:
        _, pairs, _ = decoded
        fields = dict(pairs)
        if fields["kind"] != "python":
            raise FormatError(f"spec: kind is {fields['kind']!r}, expected 'python'")
        files = [dict(each) for each in fields["files"]]
        own = [each for each in files if each["mount"] == _PROJECT]
        others = [each for each in files if each["mount"] != _PROJECT]
        verify = dict(fields.get("verify", []))
        return PythonOrder(
            str(fields["name"]),
            _digest(
                b"bcai-code\x00",
                [fields["code"], fields["code_name"], fields["entry"], _rows(own)],
            ),
            _digest(
                b"bcai-inputs\x00",
                [fields["arguments"], _rows(others, "mount")],
            ),
            int(verify["replicas"]) if verify.get("policy") == _REPLICATED else 1,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise FormatError(f"not the spec of a Python job: {error}") from error


def _rows(files: list[dict[str, Any]], *first: str) -> list[list[Any]]:
    names = (*first, "path", "digest", "size")
    return [[each[name] for name in names] for each in files]


def _digest(magic: bytes, content: list[Any]) -> bytes:
    return blake3(magic + cbor.encode(content)).digest()
