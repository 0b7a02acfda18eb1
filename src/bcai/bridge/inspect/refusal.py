"""What a script is certain to fail at in every jail, so that nobody has to send or start it."""

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from bcai.bridge.inspect.catalogue import SYNTAX
from bcai.bridge.inspect.finding import Finding
from bcai.bridge.inspect.inspect import inspect_code, with_project
from bcai.bridge.inspect.program_code import ProgramCode, inspect_program_code
from bcai.bridge.inspect.scene import Surroundings


def certain_failure(
    code: bytes,
    name: str,
    *,
    project: Collection[str],
    data: Collection[str],
    may_start_programs: bool,
) -> Finding | None:
    """Read the script that starts; nothing in another file is certain to run.

    What does not parse here is left to the node: its Python may be newer.

    Parameters
    ----------
    project, data
        Paths of the files that come along; a module of the job's own is no library.
    """
    tops = frozenset(PurePosixPath(path).parts[0] for path in data)
    around = Surroundings(
        own_modules=frozenset(top.partition(".")[0] for top in tops),
        own_paths=tops,
        may_start_programs=may_start_programs,
    )
    around = with_project(around, dict.fromkeys(project))
    found = inspect_code(code, name, around).refusal
    return None if found is None or found.rule == SYNTAX else found


def certain_failure_in_program(codes: Iterable[ProgramCode]) -> Finding | None:
    """Read the Python code of a Program; nothing is certain in trusted code."""
    found = (inspect_program_code([each]).refusal for each in codes)
    return next((each for each in found if each is not None and each.rule != SYNTAX), None)
