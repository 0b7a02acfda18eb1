"""How many arguments follow after `--`: the parser hands them to a command like those before."""

from contextvars import ContextVar

AFTER_DASHES: ContextVar[int] = ContextVar("AFTER_DASHES", default=0)
