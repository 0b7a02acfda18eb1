"""Machine-learning jobs on computers you do not have to trust.

Names are imported when first used, so that `import bcai` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bcai.base.errors import (
        BcaiError,
        InputError,
        JobCancelledError,
        JobError,
        JobFailedError,
        JobTimedOutError,
        UnreachableError,
    )
    from bcai.bridge.report import input, inputs, log, output, progress
    from bcai.sdk.async_client import AsyncSDK
    from bcai.sdk.async_job import AsyncJob
    from bcai.sdk.client import SDK
    from bcai.sdk.fit import PendingTraining, Trained, fit, submit_fit
    from bcai.sdk.job import Job
    from bcai.sdk.learning_rate import cosine
    from bcai.sdk.predict import evaluate, predict
    from bcai.sdk.result import Result
    from bcai.sdk.tensor import Tensor
    from bcai.sdk.torch import from_torch, to_torch
    from bcai.vm.compiler.training_step import AdamW, Sgd

_HOMES = {
    "SDK": "bcai.sdk.client",
    "AsyncSDK": "bcai.sdk.async_client",
    "Job": "bcai.sdk.job",
    "AsyncJob": "bcai.sdk.async_job",
    "Result": "bcai.sdk.result",
    "Tensor": "bcai.sdk.tensor",
    "BcaiError": "bcai.base.errors",
    "InputError": "bcai.base.errors",
    "JobError": "bcai.base.errors",
    "JobFailedError": "bcai.base.errors",
    "JobCancelledError": "bcai.base.errors",
    "JobTimedOutError": "bcai.base.errors",
    "UnreachableError": "bcai.base.errors",
    "from_torch": "bcai.sdk.torch",
    "to_torch": "bcai.sdk.torch",
    "fit": "bcai.sdk.fit",
    "submit_fit": "bcai.sdk.fit",
    "PendingTraining": "bcai.sdk.fit",
    "Trained": "bcai.sdk.fit",
    "cosine": "bcai.sdk.learning_rate",
    "predict": "bcai.sdk.predict",
    "evaluate": "bcai.sdk.predict",
    "AdamW": "bcai.vm.compiler.training_step",
    "Sgd": "bcai.vm.compiler.training_step",
    "input": "bcai.bridge.report",
    "inputs": "bcai.bridge.report",
    "log": "bcai.bridge.report",
    "output": "bcai.bridge.report",
    "progress": "bcai.bridge.report",
}

__all__ = [
    "SDK",
    "AdamW",
    "AsyncJob",
    "AsyncSDK",
    "BcaiError",
    "InputError",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobTimedOutError",
    "PendingTraining",
    "Result",
    "Sgd",
    "Tensor",
    "Trained",
    "UnreachableError",
    "cosine",
    "evaluate",
    "fit",
    "from_torch",
    "input",
    "inputs",
    "log",
    "output",
    "predict",
    "progress",
    "submit_fit",
    "to_torch",
]


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
