"""What a job's code is certain to fail at is said before anything is sent or started."""

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from bcai.base.errors import RefusedError
from bcai.jobs.spec import Mount, SecurityLevel
from bcai.sdk.folder import LocalFile


def refuse_certain(
    code: str | None,
    code_name: str,
    entry: str | None,
    files: Sequence[LocalFile],
    security_level: SecurityLevel = SecurityLevel.HIGH,
) -> None:
    """Read the code of a job as a node will. Nothing of it is imported or run.

    What does not parse here is left to the node: its Python may be newer. Nothing is certain to
    fail in a trusted job, for which there may be no jail.

    Raises
    ------
    RefusedError
        A line is certain to fail in every jail; the message names file, line and column.
    """
    if security_level is SecurityLevel.TRUSTED:
        return
    from bcai.bridge.inspect.catalogue import SYNTAX
    from bcai.bridge.inspect.inspect import inspect_code, inspect_files
    from bcai.bridge.inspect.scene import Surroundings

    data = {PurePosixPath(file.path).parts[0] for file in files if file.mount is Mount.DATA}
    modules = frozenset(name.partition(".")[0] for name in data)
    programs = security_level is not SecurityLevel.HIGH
    around = Surroundings(
        own_modules=modules, own_paths=frozenset(data), may_start_programs=programs
    )
    if code is not None:
        audit = inspect_code(code.encode("utf-8", "surrogatepass"), code_name, around)
    elif entry is not None:
        sources = {
            file.path: (file.size, partial(_read, file))
            for file in files
            if file.mount is Mount.PROJECT
        }
        audit = inspect_files(sources, entry, around)
    else:
        return
    found = audit.refusal
    if found is not None and found.rule != SYNTAX:
        raise RefusedError(
            f"{found.place}: {found.message}; every node refuses it, so nothing was sent",
            hint=found.hint,
        )


def _read(file: LocalFile) -> bytes:
    return file.source.read_bytes() if file.content is None else file.content
