"""What has no place in a finished tree: a machine's own paths, notes to self, swallowed errors."""

import ast
import re
from pathlib import Path

from .checkout import ROOT, files, files_with, text_of

_NOTE = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
_HOME = re.compile(r"/(?:home|Users)/(?!you\b|user\b)\w+/")
# Where any exception is caught for good: each would otherwise take down what must go on.
_LAST_RESORTS = {
    "src/bcai/bridge/guest/capture.py",  # a module's state_dict() is the job's own code
    "src/bcai/bridge/guest/runner.py",  # whatever the job's code raises is its result
    "src/bcai/cli/main.py",  # no traceback reaches a user
    "src/bcai/cluster/gateway/client_session.py",  # one client's message
    "src/bcai/cluster/gateway/edge.py",  # one request
    "src/bcai/cluster/node/agent.py",  # one job among others
    "src/bcai/cluster/scheduler/disputed.py",  # what one dispute's sides have sent
    "src/bcai/cluster/store/writer.py",  # the thread that all writers share
}


def lines_that_match(pattern: re.Pattern[str]) -> list[str]:
    """Every line of the checkout that a pattern finds, with its place."""
    return [
        f"{file}:{number}: {line.strip()[:100]}"
        for file in files()
        for number, line in enumerate(text_of(file).splitlines(), 1)
        if pattern.search(line)
    ]


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes any exception and does not pass it on."""
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        if handler.type
        else set[str]()
    )
    is_broad = handler.type is None or bool(names & {"Exception", "BaseException"})
    return is_broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_nobody_left_a_note_to_self() -> None:
    assert lines_that_match(_NOTE) == []


def test_no_path_of_one_machine() -> None:
    here = re.compile(rf"(?<![\w.]){re.escape(str(ROOT))}(?![\w-])")
    assert lines_that_match(here) + lines_that_match(_HOME) == []


def test_only_process_mains_take_every_exception() -> None:
    broad = [
        f"{file}:{node.lineno}"
        for file in files_with(".py", "src")
        if str(file) not in _LAST_RESORTS
        for node in ast.walk(ast.parse(text_of(file)))
        if isinstance(node, ast.ExceptHandler) and swallows_everything(node)
    ]
    assert broad == []


def test_no_vague_module_names() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "core", "manager", "misc"}
    assert [
        str(file) for file in files_with(".py") if vague & set(Path(file).with_suffix("").parts)
    ] == []


def test_every_last_resort_is_one() -> None:
    assert [name for name in sorted(_LAST_RESORTS) if Path(name) not in files()] == []
