"""Signs for a job of Python: that this came out of that, on this machine, behind these walls."""

from base64 import b64encode
from dataclasses import replace

from blake3 import blake3

from bcai.jobs.fingerprint import fingerprint_of
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome
from bcai.jobs.read_word import output_table
from bcai.jobs.replication import order_of
from bcai.jobs.sign_spec import encode_spec
from bcai.jobs.spec import JobKind, JobSpec
from bcai.jobs.states import Move
from bcai.proof.commitment import UsageClaim
from bcai.proof.keys import SigningKey
from bcai.proof.python_commitment import PythonCommitment, sign_python
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import Word, encode_word

_ENDS = (Move.SUCCEED, Move.FAIL, Move.TIME_OUT)  # all else is no answer to what was asked


def with_word(
    outcome: Outcome,
    job_id: str,
    spec: JobSpec,
    capabilities: Capabilities,
    key: SigningKey,
    now: float,
) -> Outcome:
    """The same outcome, signed, if it is how the code of a job ended."""
    jail = outcome.jail
    if spec.kind is not JobKind.PYTHON or outcome.move not in _ENDS or jail is None:
        return outcome
    content = encode_spec(spec)
    order, used = read_order(content), outcome.usage
    commitment = PythonCommitment(
        job_id=order_of(job_id),
        spec=blake3(content).digest(),
        code=order.code,
        inputs=order.inputs,
        reason=outcome.reason.code.value,
        exit_status=outcome.exit_status,
        outputs=output_table(outcome),
        fingerprint=fingerprint_of(spec, capabilities) or (),
        jail_level=jail.level,
        jail_layers=jail.layers,
        usage=UsageClaim(float(used.wall_s), float(used.cpu_s), used.memory_bytes_peak),
        node=key.public,
        claimed_at=float(now),
    )
    word = Word(commitment, sign_python(commitment, key))
    return replace(outcome, word=b64encode(encode_word(word)).decode())
