"""What a program's process asks of its node: to run Python code in the jail.

Asked over a socket that keeps messages whole, the process's standard input. A question is JSON with
a `kind`; files in memory travel beside it:

- `admit` (`wishes`: pairs of `sandbox` and `gpu`; `bytes_peak`: what the program itself takes),
  before anything runs, with a file: the code of the program, for the node to read.
  Answered with `admitted` and `walls`: what stands around the code, in words.
- `run`, with two files: the code and what it asks for, as JSON, and its tensors, which are named by
  their numbers. Answered with `done`, `walls`, `used` (seconds of processors and the most bytes so
  far, of all code together), and a file of the outputs, named as declared.

To whatever may not run, or fails, there is no answer: the node ends the process and the job.
"""

import json
import os
import socket
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager

from pydantic import TypeAdapter, ValidationError

from bcai.base.errors import FormatError, ResourceError
from bcai.bridge.inspect.program_code import ProgramCode
from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.tensor_views import arrays_of, map_file
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.types import Array

MESSAGE_BYTES_MAX = 1 << 12
CODE_BYTES_MAX = 8 << 20  # a million characters of up to four bytes, some of them escaped
FILES_MAX = 2
_ROOM_BYTES = 128  # around one code in a list
_CODES = TypeAdapter(list[ProgramCode])

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
    cpu_s, memory_bytes_peak
        What the code used, of which this process knows nothing else.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.walls = ""
        self.cpu_s, self.memory_bytes_peak = 0.0, 0

    def admit(
        self, wishes: Iterable[tuple[str, bool]], bytes_peak: int, codes: Iterable[ProgramCode] = ()
    ) -> None:
        """Return if the node runs such code; else it ends this process."""
        question = {"kind": "admit", "wishes": list(wishes), "bytes_peak": bytes_peak}
        with _in_memory(_CODES.dump_json(_that_fit(codes))) as listed:
            self._ask(json.dumps(question), listed)

    def __call__(self, code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run code in the node's jail; its outputs are checked by the caller."""
        outputs = ", ".join(f"{name}: {type_}" for name, type_ in code.outputs.items())
        wish = {
            "code": code.code,
            "outputs": outputs,
            "sandbox": code.sandbox,
            "gpu": code.gpu,
        }
        named: dict[str, object] = {str(place): each for place, each in enumerate(inputs)}
        content = json.dumps(wish, ensure_ascii=False).encode()
        with _in_memory(content) as asked, sealed_tensors(named) as tensors:
            (answer,) = self._ask('{"kind": "run"}', asked, tensors)
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
        said = json.loads(answer)
        self.walls = said["walls"]
        self.cpu_s, self.memory_bytes_peak = said.get("used", (0.0, 0))
        return given


def read_codes(file: int) -> list[ProgramCode]:
    """Read the code that `admit` lists, once: nobody can change it after the look.

    Raises
    ------
    FormatError
        It is no such list.
    """
    content = os.pread(file, CODE_BYTES_MAX + 1, 0)
    if len(content) > CODE_BYTES_MAX:
        raise FormatError("the listed code is too long")
    try:
        return _CODES.validate_json(content, strict=True)
    except ValidationError as error:
        raise FormatError("the listed code: not what it should be") from error


def _that_fit(codes: Iterable[ProgramCode]) -> list[ProgramCode]:
    """As many as one message holds, each code once; the rest runs without having been read."""
    kept: dict[tuple[str, str], ProgramCode] = {}
    room = CODE_BYTES_MAX
    for each in codes:
        size = _ROOM_BYTES + 6 * len(each.code)  # a character of JSON is six bytes at most
        if (each.code, each.sandbox) not in kept and size <= room:
            kept[each.code, each.sandbox] = each
            room -= size
    return list(kept.values())


@contextmanager
def _in_memory(content: bytes) -> Generator[int, None, None]:
    file = os.memfd_create("bcai-code", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(content)
        yield file
    finally:
        os.close(file)
