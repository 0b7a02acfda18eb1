"""The Python inside a program is read like a script, and each piece is certain to run."""

import pytest

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.limits import FILES_MAX, TOTAL_BYTES_MAX
from bcai.bridge.inspect.program_code import ProgramCode, inspect_program_code

STARTS = "import subprocess\nsubprocess.run(['id'])\n"


def test_findings_name_the_instruction_and_the_line() -> None:
    codes = [ProgramCode(2, "y = inputs[0]", "high"), ProgramCode(7, STARTS, "high")]
    audit = inspect_program_code(codes)
    assert audit.files == 2
    assert audit.refusal is not None
    assert audit.refusal.place == "PythonExecute@7:2:1"


@pytest.mark.parametrize(
    ("sandbox", "severities"),
    [("high", [Severity.REFUSED]), ("standard", []), ("trusted", [])],
)
def test_what_is_certain_depends_on_what_the_code_asks_for(
    sandbox: str, severities: list[Severity]
) -> None:
    audit = inspect_program_code([ProgramCode(0, STARTS, sandbox)])
    assert [each.severity for each in audit.findings] == severities


def test_nothing_is_certain_to_fail_in_trusted_code() -> None:
    network = "import socket\nsocket.create_connection(('10.0.0.1', 80))\n"
    assert inspect_program_code([ProgramCode(0, network, "standard")]).refusal is not None
    trusted = inspect_program_code([ProgramCode(0, network, "trusted")])
    assert trusted.refusal is None
    assert trusted.findings


def test_what_is_too_much_is_named_as_unseen() -> None:
    long = ProgramCode(1, "#" * (TOTAL_BYTES_MAX + 1), "high")
    audit = inspect_program_code([long, ProgramCode(2, "x = 1", "high")])
    assert audit.files == 1
    assert audit.unseen[0].startswith("PythonExecute@1: more than is read")
    many = [ProgramCode(place, f"x = {place}", "high") for place in range(FILES_MAX + 1)]
    assert inspect_program_code(many).files == FILES_MAX
