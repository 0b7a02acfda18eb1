"""What a script in the jail may ask of its node while it runs: one training of a verified Program.

It is asked for on the control channel, with a message of the type `train` that says how much memory
the script has (`memory_bytes`), and with four files that it wrote in its own work folder: the
Program of one step, the Run, the rows and the first state.
The answer is a JSON object with a `kind`: `trained`, with three sealed memory files (the state
after the last step, the history, the receipt), or `failed`, with `message` and `hint`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bcai.bridge.sandbox.jail import Metric, Progress

FILES = 4
_TEXT_MAX = 4000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the script is told. Who sends it closes the files."""

    text: bytes
    files: tuple[int, ...] = ()

    @classmethod
    def failed(cls, message: str, hint: str = "") -> "Answer":
        """There is no trained state; why, and what to do."""
        fields = {"kind": "failed", "message": message[:_TEXT_MAX], "hint": hint[:_TEXT_MAX]}
        return cls(json.dumps(fields).encode())


class Trainer(Protocol):
    """Trains for one script, outside of its jail. All but its own work is asked by one thread."""

    @property
    def memory_bytes(self) -> int:
        """What it may take now; the script has only the rest of its limit meanwhile."""
        ...

    def begin(self, files: Sequence[int], wall_s: float, memory_bytes: int) -> None:
        """Start, one time, within what is left of the job's limits. The files stay the caller's."""
        ...

    def events(self) -> Iterator[Metric | Progress]:
        """What has happened since this was last asked."""
        ...

    def answer(self) -> Answer | None:
        """Return the end of a training once it is there, one time."""
        ...

    def end(self) -> None:
        """Stop whatever runs; nothing of it is left afterwards. May be called again."""
        ...
