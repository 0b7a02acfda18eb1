"""What a program's process asks of its node: to run Python code in the jail.

Asked over a socket that keeps messages whole, the process's standard input. A question is JSON with
a `kind`; files in memory travel beside it:

- `admit` (`wishes`: pairs of `sandbox` and `gpu`; `bytes_peak`: what the program itself takes),
  before anything runs. Answered with `admitted` and `walls`: what stands around the code, in words.
- `run`, with two files: the code and what it asks for, as JSON, and its tensors, which are named by
  their numbers. Answered with `done`, `walls`, and a file of the outputs, named as declared.

To whatever may not run, or fails, there is no answer: the node ends the process and the job.
"""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from bcai.base.errors import ResourceError
from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.tensor_views import arrays_of, map_file
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array

MESSAGE_BYTES_MAX = 1 << 12
CODE_BYTES_MAX = 8 << 20  # a million characters of up to four bytes, some of them escaped
FILES_MAX = 2

VERIFIED = "verified program: no code of the user's runs"
_VERIFIED_AROUND_CODE = "verified program around Python code"
_CODE = "Python code in "


def walls_of_code(level: str, layers: Iterable[str]) -> str:
    """Say as one wall what stands around the Python code of a program."""
    return f"{_CODE}a jail of level {level}: {', '.join(layers)}"


def around_code(layers: Sequence[str], walls: str) -> tuple[str, ...]:
    """The walls of a program, with those around its code; none of that, if `walls` is empty."""
    if not walls:
        return tuple(layers)
    around = [_VERIFIED_AROUND_CODE if each == VERIFIED else each for each in layers]
    return (*(each for each in around if not each.startswith(_CODE)), walls)


class NodePython:
    """The `PythonRunner` of a program's process.

    Attributes
    ----------
    walls
        What stands around the code, as the node said last.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.walls = ""

    def admit(self, wishes: Iterable[tuple[str, bool]], bytes_peak: int) -> None:
        """Return if the node runs such code; else it ends this process."""
        self._ask(json.dumps({"kind": "admit", "wishes": list(wishes), "bytes_peak": bytes_peak}))

    def __call__(self, code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run code in the node's jail; its outputs are checked by the caller."""
        outputs = ", ".join(f"{name}: {type_}" for name, type_ in code.outputs.items())
        wish = {
            "code": code.code,
            "outputs": outputs,
            "sandbox": code.sandbox,
            "gpu": code.gpu,
        }
        asked = os.memfd_create("bcai-code", os.MFD_CLOEXEC)
        try:
            with open(asked, "wb", closefd=False) as file:
                file.write(json.dumps(wish, ensure_ascii=False).encode())
            named: dict[str, object] = {str(place): each for place, each in enumerate(inputs)}
            with sealed_tensors(named) as tensors:
                (answer,) = self._ask('{"kind": "run"}', asked, tensors)
        finally:
            os.close(asked)
        try:
            return arrays_of(map_file(answer))
        finally:
            os.close(answer)

    def _ask(self, question: str, *files: int) -> list[int]:
        """Send a question; return the files that came with its answer."""
        socket.send_fds(self._channel, [question.encode()], files)
        answer, given, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES_MAX, FILES_MAX)
        if not answer:
            raise ResourceError("PythonExecute: the node is gone")
        self.walls = json.loads(answer)["walls"]
        return given
