from pathlib import Path

import pytest

from bcai.bridge.inspect.finding import Audit
from bcai.cluster.node.inspection import inspect_job, policy_of, refused_code
from bcai.jobs.outcome import Outcome, ReasonCode
from bcai.jobs.states import Move
from bcai.settings import PythonConstraints
from bcai.wire.jobs import OUTCOME

OWNER = PythonConstraints()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def look(
    project: Path, code: str, owner: PythonConstraints = OWNER
) -> tuple[Audit, Outcome | None]:
    (project / "main.py").write_text(code, "utf-8")
    audit = inspect_job(project, project.parent / "data", "main.py", owner)
    return audit, refused_code(audit, owner)


def test_a_certain_failure_ends_the_attempt_with_its_line(project: Path) -> None:
    audit, outcome = look(project, "import subprocess\nsubprocess.run(['ls'])\n")
    assert outcome is not None
    assert (outcome.move, outcome.reason.code) == (Move.FAIL, ReasonCode.INSPECTION)
    assert "(main.py, line 2)" in outcome.reason.message
    assert outcome.user_line == 2
    assert outcome.reason.hint
    assert outcome.audit == audit
    assert OUTCOME.validate_json(OUTCOME.dump_json(outcome)) == outcome


def test_a_syntax_error_keeps_its_own_reason(project: Path) -> None:
    _, outcome = look(project, "x = 1\nif x\n    pass\n")
    assert outcome is not None
    assert outcome.reason.code is ReasonCode.SYNTAX_ERROR
    assert outcome.user_line == 2


def test_an_import_that_the_owner_does_not_list_is_refused(project: Path) -> None:
    code = "import sqlalchemy\n"
    _, outcome = look(project, code)
    assert outcome is not None
    assert "allowed_imports" in outcome.reason.hint
    assert look(project, code, PythonConstraints(allowed_imports=("sqlalchemy",)))[1] is None
    assert look(project, code, PythonConstraints(import_policy="any"))[1] is None


@pytest.mark.parametrize(
    "code", ["import no_such_module_here\n", "import mine\n", "import torch\nimport numpy\n"]
)
def test_what_fails_otherwise_or_works_is_let_through(project: Path, code: str) -> None:
    (project / "libs").mkdir()
    (project / "libs" / "mine.py").write_text("", "utf-8")
    assert look(project, code)[1] is None


def test_an_owner_may_have_it_reported_only(project: Path) -> None:
    audit, outcome = look(project, "input()\n", PythonConstraints(inspection="report"))
    assert outcome is None
    assert audit.counts["refused"] == 1


def test_the_policy_is_the_owners() -> None:
    policy = policy_of(PythonConstraints(allowed_imports=("one.two",)))
    assert policy.lists("one")
    assert policy.lists("torch.nn")
    assert not policy.lists("fastapi")
