"""A Program as a job: checked here, sent as canonical bytes, with its inputs as safetensors."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError, NotFoundError
from bcai.jobs.spec import JobKind, Mount
from bcai.sdk.draft import Draft, Quantity, checked_draft
from bcai.sdk.folder import LocalFile
from bcai.sdk.inspection import refuse_certain_code

if TYPE_CHECKING:
    from bcai.vm.program.program import Program, VerifiedProgram

ENTRY = "program.bcai"
INPUTS = "inputs.safetensors"


def draft_program(
    program: "Program | VerifiedProgram | bytes | str | PathLike[str]",
    inputs: Mapping[str, Any],
    *,
    name: str | None = None,
    limits: Mapping[str, Quantity] | None = None,
    timeout: float | str = 3600,
    max_retries: int = 3,
    required_outputs: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    verify: str = "none",
) -> Draft:
    """Check a program and its inputs, and put them in a submission.

    Raises
    ------
    InputError
        The program is not legal, or an input is missing or of another type.
    RefusedError
        Python code in it is certain to fail in every jail.
    """
    from safetensors.numpy import save

    from bcai.vm.backends.reference.interpreter import check_inputs
    from bcai.vm.program.codec import encode_program

    verified = read_program(program)
    refuse_certain_code(verified.program)
    arrays = check_inputs(verified, inputs)
    named = {port.name: array for port, array in zip(verified.program.ports, arrays, strict=True)}
    content = {ENTRY: encode_program(verified.program), INPUTS: save(named)}
    files = [
        LocalFile(Path(path), path, len(data), mount, data)
        for (path, data), mount in zip(content.items(), (Mount.PROJECT, Mount.DATA), strict=True)
    ]
    usual_name = Path(program).stem if isinstance(program, str | PathLike) else "program"
    fields: dict[str, Any] = {
        "kind": JobKind.PROGRAM,
        "name": usual_name if name is None else name,
        "entry": ENTRY,
        "hardware": {"gpu_count": 1} if _asks_for_gpu(verified) else None,
        "limits": limits,
        "timeout": timeout,
        "max_retries": max_retries,
        "required_outputs": required_outputs,
        "labels": labels,
        "verify": verify,
    }
    return checked_draft(fields, files)


def _asks_for_gpu(program: "VerifiedProgram") -> bool:
    """Whether some of its Python code needs a node that has one."""
    from bcai.vm.isa.ops.hybrid import python_execute

    instructions = program.program.instructions
    return any(each.op is python_execute and each.attributes["gpu"] for each in instructions)


def read_program(
    program: "Program | VerifiedProgram | bytes | str | PathLike[str]",
) -> "VerifiedProgram":
    """Return a program verified: given as an object, as canonical bytes, or as a file.

    Raises
    ------
    InputError
        It is not there, or not legal; errors in assembly point at their line.
    """
    from bcai.vm.program.codec import MAGIC, decode_program
    from bcai.vm.program.program import Program, VerifiedProgram
    from bcai.vm.program.text import parse_program
    from bcai.vm.program.verifier import verify

    if isinstance(program, VerifiedProgram):
        return program
    if isinstance(program, Program):
        return verify(program)
    data = program if isinstance(program, bytes) else _read(Path(program))
    if data.startswith(MAGIC):
        return verify(decode_program(data))
    try:
        return parse_program(data.decode("utf-8-sig"))  # some editors begin with a mark
    except UnicodeDecodeError as error:
        place = "program" if isinstance(program, bytes) else repr(str(program))
        raise InputError(
            f"{place}: neither canonical bytes nor assembly: byte {error.start} is not UTF-8"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"program: no file {str(path)!r}") from None
    except OSError as error:
        raise InputError(f"program: {str(path)!r}: {error.strerror}") from error
