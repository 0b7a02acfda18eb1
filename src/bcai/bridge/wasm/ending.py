"""How a module ends: well, or with a cause and a sentence."""

from dataclasses import dataclass

from bcai.bridge.sandbox.jail import Cause


class EndedError(Exception):
    """The run is over: raised where it is found, also through the module's own frames."""

    def __init__(self, cause: Cause, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ModuleLimits:
    """What a module may use.

    `fuel` counts instructions and host calls; it is the same on every machine, unlike time.
    """

    memory_bytes: int
    output_bytes: int
    log_bytes: int
    fuel: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class ModuleUse:
    """What a run has used. Memory is the module's own."""

    fuel: int = 0
    memory_bytes: int = 0
    log_bytes: int = 0
