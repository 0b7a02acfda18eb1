"""What the gateway does not queue: Python that fails in every jail, in a script or a Program."""

from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from bcai.base.errors import RefusedError
from bcai.cluster.gateway.inspection import PROGRAM_BYTES_MAX, Inspector
from bcai.cluster.store.protocol import BlobStore
from bcai.jobs.spec import FileRef, JobKind, JobSpec
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program

FAILS = "import subprocess\nsubprocess.run(['ls'])\n"


class Blobs:
    """One content, whatever is asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, _digest: str) -> AsyncIterator[bytes]:
        yield self._content


def program(code: str, sandbox: str = "high") -> bytes:
    build = Builder()
    attributes = {"code": code, "outputs": "y: float32[]", "sandbox": sandbox}
    (y,) = build.emit("PythonExecute", (), attributes)
    return encode_program(build.finish(y=y).program)


def inspect(content: bytes, kind: JobKind = JobKind.PROGRAM) -> None:
    file = FileRef("program.bcai", f"blake3:{'0' * 64}", len(content))
    spec = JobSpec("job", None, entry=file.path, files=(file,), kind=kind)
    anyio.run(Inspector().refuse_certain, spec, cast("BlobStore", Blobs(content)))


def test_code_in_a_program_is_read_as_a_script_is() -> None:
    with pytest.raises(RefusedError, match=r"program.bcai:2:1: .*not accepted"):
        inspect(FAILS.encode(), JobKind.PYTHON)
    with pytest.raises(RefusedError, match=r"PythonExecute@0:2:1: .*not accepted") as caught:
        inspect(program(FAILS))
    assert "sandbox=" in caught.value.hint
    inspect(program("y = 1.0"))
    inspect(program(FAILS, "standard"))
    inspect(program(FAILS, "trusted"))


def test_what_is_no_program_or_too_much_to_read_is_left_to_the_node() -> None:
    inspect(b"bcai-program\x00 and then nothing")
    inspect(program(FAILS + "#" * PROGRAM_BYTES_MAX))
