"""How a rule is declared: its text, its examples and the function that looks.

The table of the reference page, the tests and the command line follow from the declarations.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.scene import Scene


@dataclass(frozen=True, slots=True)
class Sighting:
    """A rule saw something at a node.

    Attributes
    ----------
    certain
        The node is evaluated whenever the script runs, and what it does fails in every jail. Only
        such a sighting of a rule that refuses is a refusal; else it is a warning.
    severity
        None: the rule's own.
    """

    node: ast.AST
    message: str
    certain: bool = False
    severity: Severity | None = None
    hint: str | None = None


Look = Callable[[Scene], Iterator[Sighting]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes
    ----------
    code
        Stable, dotted name: family and act.
    severity
        The worst that it can say.
    fires, spares
        Sources that it must find something in, and near misses that it must leave alone. Those that
        fire for a rule that refuses must be refused, and are also run in a real jail.
    """

    code: str
    severity: Severity
    title: str
    hint: str
    fires: tuple[str, ...]
    spares: tuple[str, ...]
    look: Look


def rule(
    code: str,
    severity: Severity,
    title: str,
    hint: str,
    *,
    fires: tuple[str, ...],
    spares: tuple[str, ...],
) -> Callable[[Look], Rule]:
    """Declare the decorated function as a rule."""

    def declare(look: Look) -> Rule:
        return Rule(code, severity, title, hint, fires, spares, look)

    return declare
