"""The receipt of a Python job, put together here: from the job and what its nodes signed."""

from base64 import b64decode
from typing import TYPE_CHECKING

from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from bcai.proof.python_receipt import PythonReceipt


def attestation_of(job: JobView) -> "PythonReceipt | None":
    """Return the receipt; None if no node signed for the code of the job.

    Raises
    ------
    FormatError
        What the gateway says that a node signed cannot be read.
    """
    signature = job.spec.signature
    words = [ballot.word for ballot in (job.settlement.replicas if job.settlement else ())]
    if not words and job.outcome is not None and job.outcome.word is not None:
        words = [job.outcome.word]
    signed = [word for word in words if word]
    if signature is None or not signed:
        return None
    # Nobody who only waits for a result needs these.
    from bcai.base.errors import FormatError
    from bcai.jobs.sign_spec import encode_spec
    from bcai.proof.keys import parse_key_id
    from bcai.proof.python_receipt import decode_word, join_words
    from bcai.proof.receipt import SignedSpec

    try:
        read = [decode_word(b64decode(word, validate=True)) for word in signed]
        key, value = parse_key_id(signature.key), bytes.fromhex(signature.value)
    except ValueError as error:
        raise FormatError(f"the job's receipt: not what a node signs: {error}") from error
    return join_words(SignedSpec(encode_spec(job.spec), key, value), read)
