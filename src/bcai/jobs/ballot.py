"""One replica's answer, as the network counts it.

An answer is how the job ended and its named outputs; what it printed, its metrics and the time that
it took are none. A node that signed nothing, or something else than it reports, has no answer.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ballot:
    """One replica's end.

    Attributes
    ----------
    number
        Of the replica, from 1.
    answer
        64 hexadecimal digits that two nodes share exactly if they say the same; empty: none.
    text
        How it ended, or why it counts as no answer.
    outputs
        (name, hash in hexadecimal digits) of each output.
    key
        Who signed.
    word
        What was signed, in base64: `proof.python_receipt.encode_word`.
    """

    number: int
    node_id: str
    node_name: str
    answer: str = ""
    text: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    key: str = ""
    word: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
