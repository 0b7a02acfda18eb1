"""Every rule fires at its own examples, and leaves its near misses alone."""

import pytest
from _pytest.mark import ParameterSet

from bcai.bridge.inspect.catalogue import RULES
from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.inspect import inspect_code
from bcai.bridge.inspect.policy import import_policy
from bcai.bridge.inspect.rule import Rule
from bcai.bridge.inspect.scene import Surroundings

# A node that has these packages, and does not list them.
NODE = Surroundings(
    policy=import_policy(["requests", "wandb", "boto3", "cffi"]),
    is_installed={"fastapi", "sqlalchemy"}.__contains__,
)


def examples(kind: str) -> list[ParameterSet]:
    return [
        pytest.param(rule, source, id=f"{rule.code}-{number}")
        for rule in RULES
        for number, source in enumerate(getattr(rule, kind))
    ]


@pytest.mark.parametrize(("rule", "source"), examples("fires"))
def test_a_rule_fires(rule: Rule, source: str) -> None:
    audit = inspect_code(source.encode(), "job.py", NODE)
    found = [item for item in audit.findings if item.rule == rule.code]
    assert found, audit
    assert found[0].severity is rule.severity, found
    assert found[0].line >= 1
    assert found[0].column >= 1
    assert found[0].hint


@pytest.mark.parametrize(("rule", "source"), examples("fires"))
def test_nothing_is_certain_inside_a_function(rule: Rule, source: str) -> None:
    lines = "".join(f"    {line}\n" for line in source.splitlines())
    audit = inspect_code(f"def never_called():\n{lines}".encode(), "job.py", NODE)
    assert audit.refusal is None, audit


@pytest.mark.parametrize(("rule", "source"), examples("fires"))
def test_nothing_is_certain_where_it_may_be_caught(rule: Rule, source: str) -> None:
    lines = "".join(f"    {line}\n" for line in source.splitlines())
    audit = inspect_code(f"try:\n{lines}except Exception: pass\n".encode(), "job.py", NODE)
    assert audit.refusal is None, audit


@pytest.mark.parametrize(("rule", "source"), examples("spares"))
def test_a_near_miss_is_left_alone(rule: Rule, source: str) -> None:
    audit = inspect_code(source.encode(), "job.py", NODE)
    assert [item for item in audit.findings if item.rule == rule.code] == []
    assert audit.refusal is None


def test_every_rule_has_its_own_name_and_both_kinds_of_examples() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert [rule.code for rule in RULES if not (rule.fires and rule.spares and rule.hint)] == []
    assert {rule.severity for rule in RULES} == set(Severity)
