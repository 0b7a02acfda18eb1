"""Reads the Python code inside a Program as it reads a script; each piece of it is sure to run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bcai.bridge.inspect import limits
from bcai.bridge.inspect.finding import Audit, Finding, Severity, audit_of
from bcai.bridge.inspect.inspect import inspect_code
from bcai.bridge.inspect.scene import Surroundings
from bcai.bridge.inspect.source import count_signs

_LEVEL = "security_level="  # what a job asks for


@dataclass(frozen=True, slots=True)
class ProgramCode:
    """The code of one `PythonExecute`.

    Attributes
    ----------
    number
        Place of the instruction in the program, from 0.
    sandbox
        The security level that it asks for.
    """

    number: int
    code: str
    sandbox: str

    @property
    def name(self) -> str:
        """What stands for a file name in its findings: `PythonExecute@3`."""
        return f"PythonExecute@{self.number}"


def inspect_program_code(codes: Iterable[ProgramCode], around: Surroundings | None = None) -> Audit:
    """Inspect all code of a program. Nothing is certain to fail in code that is trusted."""
    around = around or Surroundings()
    findings: list[Finding] = []
    unseen: list[str] = []
    room, signs_room, files = limits.TOTAL_BYTES_MAX, limits.TOTAL_SIGNS_MAX, 0
    for each in codes:
        data = each.code.encode("utf-8", "surrogatepass")
        signs = count_signs(data)
        if len(data) > room or signs > signs_room or files >= limits.FILES_MAX:
            unseen.append(f"{each.name}: more than is read ({len(data)} bytes)")
            continue
        room, signs_room, files = room - len(data), signs_room - signs, files + 1
        there = replace(around, may_start_programs=each.sandbox != "high")
        found = inspect_code(data, each.name, there)
        findings += [_in_program(item, each.sandbox) for item in found.findings]
        unseen += found.unseen
    return audit_of(findings, unseen, files)


def _in_program(finding: Finding, sandbox: str) -> Finding:
    """Say of a finding what code in a program can do about it: it asks for a `sandbox`."""
    severity = finding.severity
    if severity is Severity.REFUSED and sandbox == "trusted":
        severity = Severity.WARNING
    return replace(finding, severity=severity, hint=finding.hint.replace(_LEVEL, "sandbox="))
