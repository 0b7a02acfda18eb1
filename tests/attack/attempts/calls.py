"""Attempts that end at the filter of system calls."""

from .attempt import Attempt, Control, Kind, Outcome, Refused

NO = Refused(("EPERM",))


def call(
    kind: Kind,
    name: str,
    code: str,
    outcome: Outcome = NO,
    control: Control = Control.OUTSIDE,
    *,
    machine: str = "",
    is_quick: bool = False,
) -> Attempt:
    """An attempt at what a system call does, or at the call itself."""
    return Attempt(
        kind, name, code, outcome, "seccomp", control, machine=machine, is_quick=is_quick
    )
