r"""What a node signs of a Python job: its word that this came out of that, nothing that traces it.

    b"bcai-python-commitment\x00" then canonical CBOR of
    [version, job id, spec digest, code digest, inputs digest, [reason, exit status or null],
     [[name, kind, hash], ...], [[fact, value], ...], jail level, [jail layer, ...],
     [wall_s, cpu_s, memory_bytes_peak], node key, claimed time]

Outputs ascend by the bytes of their names, facts (the fingerprint) likewise. The hash of an output
is BLAKE3 of its stored bytes: a file's own, safetensors for `array` and `state_dict`; for a `value`
those of its strict JSON with sorted keys and no spaces. What the job printed, its metrics and its
progress are no part of it. The reason is the stable code of how it ended, such as `job.succeeded`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.proof.canonical import check_hash, check_text, decode_canonical
from bcai.proof.commitment import UsageClaim
from bcai.proof.keys import Domain, SigningKey, is_signed
from bcai.vm.program import cbor

MAGIC = b"bcai-python-commitment\x00"
VERSION = 1
BYTES_MAX = 1 << 24
KINDS = frozenset({"value", "array", "state_dict", "file"})


@dataclass(frozen=True, slots=True)
class PythonOutput:
    """One named output; `hash` as the module says."""

    name: str
    kind: str
    hash: bytes

    def __post_init__(self) -> None:
        """Refuse what no output is."""
        check_text("output", self.name)
        check_hash(f"output {self.name!r}: hash", self.hash)
        if self.kind not in KINDS:
            raise InputError(
                f"output {self.name!r}: kind is {self.kind!r}, expected one of {sorted(KINDS)}"
            )


@dataclass(frozen=True, slots=True)
class PythonCommitment:
    """See the module for the parts.

    Raises
    ------
    InputError
        A field is not what it should be; the message names it.
    """

    job_id: str
    spec: bytes
    code: bytes
    inputs: bytes
    reason: str
    exit_status: int | None
    outputs: tuple[PythonOutput, ...]
    fingerprint: tuple[tuple[str, str], ...]
    jail_level: str
    jail_layers: tuple[str, ...]
    usage: UsageClaim
    node: bytes
    claimed_at: float
    """Unix time in seconds."""

    def __post_init__(self) -> None:
        """Refuse what no node commits to."""
        for name in ("job_id", "reason", "jail_level"):
            check_text(name, getattr(self, name))
        for name in ("spec", "code", "inputs", "node"):
            check_hash(name, getattr(self, name))
        if self.exit_status is not None and type(self.exit_status) is not int:
            raise InputError(f"exit_status: found {self.exit_status!r}, expected a whole number")
        for layer in self.jail_layers:
            check_text("jail_layers", layer)
        for fact in self.fingerprint:
            for text in fact:
                check_text("fingerprint", text)
        for what, names in (
            ("outputs", [each.name for each in self.outputs]),
            ("fingerprint", [name for name, _ in self.fingerprint]),
        ):
            if len(set(names)) != len(names):
                raise InputError(f"{what}: a name stands twice")
        if type(self.claimed_at) is not float or not math.isfinite(self.claimed_at):
            raise InputError(f"claimed_at: found {self.claimed_at!r}, expected a finite float")

    @property
    def answer(self) -> bytes:
        """32 bytes that two nodes share exactly if they say the same: how it ended, and outputs."""
        return blake3(cbor.encode([self.reason, self.exit_status, _table(self.outputs)])).digest()


def hash_value(value: object) -> bytes:
    """Hash of an output of kind `value`, which `base.values` has encoded."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake3(text.encode()).digest()


def sign_python(commitment: PythonCommitment, key: SigningKey) -> bytes:
    """Sign as the node that the commitment names. Raises InputError for another's key."""
    if key.public != commitment.node:
        raise InputError("node: the commitment names another key than the one that signs")
    return key.sign(Domain.PYTHON, encode_python(commitment))


def is_python_signed(commitment: PythonCommitment, signature: bytes) -> bool:
    """Whether the node that a commitment names signed it."""
    return is_signed(commitment.node, Domain.PYTHON, encode_python(commitment), signature)


def encode_python(commitment: PythonCommitment) -> bytes:
    """Canonical bytes of a commitment."""
    usage = commitment.usage
    return MAGIC + cbor.encode(
        [
            VERSION,
            commitment.job_id,
            commitment.spec,
            commitment.code,
            commitment.inputs,
            [commitment.reason, commitment.exit_status],
            _table(commitment.outputs),
            [list(each) for each in _ascending(commitment.fingerprint)],
            commitment.jail_level,
            list(commitment.jail_layers),
            [usage.wall_s, usage.cpu_s, usage.memory_bytes_peak],
            commitment.node,
            commitment.claimed_at,
        ]
    )


def decode_python(data: bytes) -> PythonCommitment:
    """Read canonical bytes.

    Raises
    ------
    FormatError
        They are not the canonical encoding of such a commitment.
    """
    return decode_canonical(data, MAGIC, "Python commitment", BYTES_MAX, _build, encode_python)


def _build(fields: Any) -> PythonCommitment:
    if fields[0] != VERSION:
        raise FormatError(f"version {fields[0]!r} is not known; expected {VERSION}")
    (_, job_id, spec, code, inputs, (reason, exit_status), outputs, fingerprint,
     level, layers, usage, node, at) = fields  # fmt: skip
    facts = tuple((name, value) for name, value in fingerprint)
    return PythonCommitment(
        job_id, spec, code, inputs, reason, exit_status,
        tuple(PythonOutput(*each) for each in outputs), facts,
        level, tuple(layers), UsageClaim(*usage), node, at,
    )  # fmt: skip


def _table(outputs: tuple[PythonOutput, ...]) -> list[list[Any]]:
    rows = sorted(outputs, key=lambda each: each.name.encode())
    return [[each.name, each.kind, each.hash] for each in rows]


def _ascending(facts: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return sorted(facts, key=lambda fact: fact[0].encode())
