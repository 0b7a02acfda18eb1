"""Answers questions about one kept job, in a process of its own.

Called as `python -m ... FOLDER BACKEND THREADS [LEAF]`; 0 threads: one a processor. Of a captured
script the questions are about the part at that leaf. Each question comes on stdin as 4 bytes that
say how long it is, highest first, and its canonical bytes; each answer goes out in the same way,
with 8 bytes. What cannot be answered here is answered with "nothing to say"; where that may pass,
such as a lack of memory, this process ends instead, and is started again.
"""

import signal
import sys
from pathlib import Path

from bcai.base.errors import BcaiError
from bcai.bridge.sandbox import libc
from bcai.cluster.node.defence_frames import ANSWER_LENGTH_BYTES, LENGTH_BYTES
from bcai.cluster.node.evidence_folder import open_side
from bcai.proof.answer import TRANSIENT, answer_bytes
from bcai.proof.side import ReplayingSide
from bcai.vm.runtime.choose_backend import choose_backend


def main() -> None:
    """Answer until stdin ends."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    folder, wish, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None
    leaf = int(sys.argv[4]) if len(sys.argv) > 4 else None
    try:
        side = _side(folder, wish, threads, leaf)
        while head := sys.stdin.buffer.read(LENGTH_BYTES):
            question = sys.stdin.buffer.read(int.from_bytes(head, "big"))
            answer = answer_bytes(side, question)
            sys.stdout.buffer.write(len(answer).to_bytes(ANSWER_LENGTH_BYTES, "big") + answer)
            sys.stdout.buffer.flush()
    except TRANSIENT as error:
        sys.exit(f"the result cannot be defended now: {error}")


def _side(folder: Path, wish: str, threads: int | None, leaf: int | None) -> ReplayingSide | None:
    try:
        return open_side(folder, choose_backend(wish, threads=threads).backend, leaf)
    except TRANSIENT:
        raise
    except (BcaiError, LookupError) as error:
        sys.stderr.write(f"nothing defends the result: {error}\n")
        return None


if __name__ == "__main__":
    main()
