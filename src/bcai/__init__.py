"""Machine-learning jobs on computers you do not have to trust.

Names are imported when first used, so that `import bcai` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bcai.bridge.report import log, output, progress
    from bcai.sdk.client import SDK, AsyncSDK
    from bcai.sdk.job import AsyncJob, Job, Result

_HOMES = {
    "SDK": "bcai.sdk.client",
    "AsyncSDK": "bcai.sdk.client",
    "Job": "bcai.sdk.job",
    "AsyncJob": "bcai.sdk.job",
    "Result": "bcai.sdk.job",
    "log": "bcai.bridge.report",
    "output": "bcai.bridge.report",
    "progress": "bcai.bridge.report",
}

__all__ = ["SDK", "AsyncJob", "AsyncSDK", "Job", "Result", "log", "output", "progress"]


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'bcai' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names that are there or would be imported."""
    return sorted({*globals(), *_HOMES})
