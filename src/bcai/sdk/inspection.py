"""What a job's code is certain to fail at is said before anything is sent or started."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bcai.base.errors import RefusedError
from bcai.jobs.spec import CODE_BYTES_MAX, Mount, SecurityLevel
from bcai.sdk.folder import LocalFile

if TYPE_CHECKING:
    from bcai.bridge.inspect.finding import Finding
    from bcai.vm.program.program import Program


def refuse_certain(
    code: str | None,
    code_name: str,
    entry: str | None,
    files: Sequence[LocalFile],
    security_level: SecurityLevel = SecurityLevel.HIGH,
) -> None:
    """Read the script that starts as the gateway and the node will. Nothing of it is run.

    Nothing is certain to fail in a trusted job, for which there may be no jail.

    Raises
    ------
    RefusedError
        A line is certain to fail in every jail; the message names file, line and column.
    """
    if security_level is SecurityLevel.TRUSTED:
        return
    from bcai.bridge.inspect.refusal import certain_failure

    text = _source(code, entry, files)
    if text is None:
        return
    found = certain_failure(
        text,
        entry or code_name,
        project=[file.path for file in files if file.mount is Mount.PROJECT],
        data=[file.path for file in files if file.mount is Mount.DATA],
        may_start_programs=security_level is not SecurityLevel.HIGH,
    )
    _refuse(found)


def refuse_certain_code(program: "Program") -> None:
    """Read the Python code of a program as its node will.

    Raises
    ------
    RefusedError
        As for a script; the message names the instruction.
    """
    from bcai.bridge.code_of_program import code_of_program
    from bcai.bridge.inspect.refusal import certain_failure_in_program

    _refuse(certain_failure_in_program(code_of_program(program)))


def _refuse(found: "Finding | None") -> None:
    if found is not None:
        raise RefusedError(
            f"{found.place}: {found.message}; every node refuses it, so nothing was sent",
            hint=found.hint,
        )


def _source(code: str | None, entry: str | None, files: Sequence[LocalFile]) -> bytes | None:
    """The bytes of the script that starts, if it is one that is read."""
    if code is not None:
        return code.encode("utf-8", "surrogatepass")
    for file in files:
        if (file.mount, file.path) == (Mount.PROJECT, entry) and file.size <= CODE_BYTES_MAX:
            return file.source.read_bytes() if file.content is None else file.content
    return None
