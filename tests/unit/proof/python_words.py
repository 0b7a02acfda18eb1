"""A job of Python and what honest nodes sign for it."""

from dataclasses import replace
from typing import Any

from blake3 import blake3

from bcai.jobs.sign_spec import encode_spec, sign_spec
from bcai.jobs.spec import FileRef, JobSpec, Mount
from bcai.jobs.verify import Policy, Verify
from bcai.proof.commitment import UsageClaim
from bcai.proof.keys import SigningKey, parse_key_id
from bcai.proof.python_commitment import PythonCommitment, PythonOutput, hash_value, sign_python
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import Word
from bcai.proof.receipt import SignedSpec

CLIENT, *NODES = (SigningKey.from_random(bytes([number]) * 32) for number in range(1, 6))
DATA = FileRef("rows.csv", "blake3:" + "b" * 64, 9, Mount.DATA)
SPEC = sign_spec(
    JobSpec(
        "digits",
        code="loss = 0.25\n",
        files=(DATA,),
        arguments=("--fast",),
        verify=Verify(Policy.REPLICATED, replicas=3),
    ),
    CLIENT,
    nonce="0" * 32,
    now=1.7e9,
)
CONTENT = encode_spec(SPEC)
FINGERPRINT = (("cpu", "a processor"), ("lock", "blake3:00"), ("threads", "2"))
OUTPUTS = (
    PythonOutput("loss", "value", hash_value(0.25)),
    PythonOutput("weights", "array", bytes(32)),
)


def signed_spec() -> SignedSpec:
    signature = SPEC.signature
    assert signature is not None
    return SignedSpec(CONTENT, parse_key_id(signature.key), bytes.fromhex(signature.value))


def commitment(key: SigningKey = NODES[0], **changes: Any) -> PythonCommitment:
    order = read_order(CONTENT)
    honest = PythonCommitment(
        "job_1", blake3(CONTENT).digest(), order.code, order.inputs, "job.succeeded", 0, OUTPUTS,
        FINGERPRINT, "A", ("no network",), UsageClaim(1.5, 1.25, 4096), key.public, 1.7e9,
    )  # fmt: skip
    return replace(honest, **changes)


def word(key: SigningKey = NODES[0], **changes: Any) -> Word:
    said = commitment(key, **changes)
    return Word(said, sign_python(said, key))
