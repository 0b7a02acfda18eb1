"""What inspection calls certain to fail does fail in a jail, and what it spares for it works."""

import pytest
from _pytest.mark import ParameterSet

from bcai.bridge.inspect.catalogue import RULES
from bcai.bridge.inspect.finding import Severity
from bcai.bridge.sandbox.jail import Cause

from .jails import Jail

_OF_THE_NODE = "import.policy"  # not the jail's doing


def refused_sources() -> list[ParameterSet]:
    return [
        pytest.param(source, id=f"{rule.code}-{number}")
        for rule in RULES
        if rule.severity is Severity.REFUSED and rule.code != _OF_THE_NODE
        for number, source in enumerate(rule.fires)
    ]


@pytest.mark.parametrize("source", refused_sources())
def test_what_is_refused_beforehand_would_have_failed(jail: Jail, source: str) -> None:
    ended = jail.run(source, wall_s=30.0, processes=32).exit
    assert ended.cause is not Cause.EXITED or ended.exit_status != 0, ended
    assert ended.cause is not Cause.JAIL_ERROR
