"""Signs what this user submits, with a key of their own that is made on first use."""

import os
import time

from bcai.base.errors import BcaiError
from bcai.sdk.notices import say_of_network
from bcai.settings import read_settings
from bcai.wire.submission import JobSubmission, SignatureMessage


def sign_submission(submission: JobSubmission, nonce: str) -> JobSubmission:
    """Add a signature over the spec that a submission stands for.

    Where no key can be kept, it goes as it is, and the gateway signs for us.

    Raises
    ------
    InputError
        The parts of the submission do not fit together.
    """
    from bcai.jobs.sign_spec import sign_spec
    from bcai.proof.keys import own_key

    path = read_settings().client_key_file
    try:
        key = own_key(path, os.urandom)
    except (OSError, BcaiError) as error:
        say_of_network(f"jobs are not signed by you but by the gateway: no key in {path}: {error}")
        return submission
    signature = sign_spec(submission.to_spec(), key, nonce=nonce, now=time.time()).signature
    assert signature is not None
    names = SignatureMessage.model_fields
    fields = {name: getattr(signature, name) for name in names}
    return submission.model_copy(update={"signature": SignatureMessage(**fields)})
