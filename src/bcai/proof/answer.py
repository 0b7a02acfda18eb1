"""One side's answer to a question of a dispute, both as canonical bytes."""

import logging

from bcai.base.errors import BcaiError, DependencyError, ResourceError
from bcai.proof.message_codec import REPLY_BYTES_MAX, decode_request, encode_message
from bcai.proof.messages import Answerer

NOTHING = encode_message(None)
TRANSIENT = (DependencyError, ResourceError)
"""What stops an answer now, and perhaps not later: who says nothing has lost, who is late not."""

logger = logging.getLogger(__name__)


def answer_bytes(side: Answerer | None, question: bytes) -> bytes:
    """What a side says; what cannot be said, or has no side to say it, is said as nothing.

    Raises
    ------
    DependencyError, ResourceError
        It cannot be said now.
    """
    if side is None:
        return NOTHING
    try:
        answer = encode_message(side.answer(decode_request(question)))
    except TRANSIENT:
        raise
    except (BcaiError, LookupError) as error:
        logger.warning("no answer: %s", error)
        return NOTHING
    return answer if len(answer) <= REPLY_BYTES_MAX else NOTHING
