"""A node's own look at a job's code, whatever the client may have checked before."""

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bcai.bridge.inspect.catalogue import SYNTAX
from bcai.bridge.inspect.finding import Audit
from bcai.bridge.inspect.inspect import inspect_folder
from bcai.bridge.inspect.policy import ImportPolicy, import_policy
from bcai.bridge.inspect.program_code import ProgramCode, inspect_program_code
from bcai.bridge.inspect.scene import Surroundings
from bcai.cluster.node.outcome import refused
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.settings import PythonConstraints


def policy_of(owner: PythonConstraints, modules: frozenset[str] | None = None) -> ImportPolicy:
    """Return the import policy that the node's owner chose.

    Parameters
    ----------
    modules
        What the job's environment holds, if the owner built it: that is a choice, too.
    """
    listed = (*owner.allowed_imports, *(modules or ()))
    return import_policy(listed, is_enforced=owner.import_policy == "listed")


def inspect_job(
    project: Path,
    data: Path,
    entry: str,
    owner: PythonConstraints,
    modules: frozenset[str] | None = None,
    *,
    programs: bool = False,
) -> Audit:
    """Read a job's code from its folders. Nothing of it is imported or run.

    Parameters
    ----------
    modules
        What the job's environment holds beside the standard library; None: what this node has.
    programs
        It may start programs.
    """
    beside = frozenset(path.name for path in data.iterdir()) if data.is_dir() else frozenset[str]()
    around = Surroundings(
        own_modules=frozenset(name.partition(".")[0] for name in beside),
        own_paths=beside,
        policy=policy_of(owner, modules),
        is_installed=_is_installed if modules is None else modules.__contains__,
        may_start_programs=programs,
    )
    return inspect_folder(project, entry, around)


def inspect_program(codes: Iterable[ProgramCode], owner: PythonConstraints) -> Audit:
    """Read the Python code of a program, which runs in this node's own Python."""
    around = Surroundings(policy=policy_of(owner), is_installed=_is_installed)
    return inspect_program_code(codes, around)


def refused_code(
    audit: Audit, owner: PythonConstraints, *, trusted: bool = False
) -> Outcome | None:
    """End an attempt whose code is certain to fail, or None: it may run, as a trusted one may."""
    found = audit.refusal
    if found is None or trusted or owner.inspection == "report":
        return None
    is_syntax = found.rule == SYNTAX
    code = ReasonCode.SYNTAX_ERROR if is_syntax else ReasonCode.INSPECTION
    message = f"{found.message} ({found.file}, line {found.line})"
    return replace(refused(Reason(code, message, found.hint)), user_line=found.line, audit=audit)


def _is_installed(package: str) -> bool:
    """Whether the node has a package; it is looked for, not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
