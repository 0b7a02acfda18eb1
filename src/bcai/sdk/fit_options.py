"""What `bcai.fit` and `bcai.submit_fit` both take, as a type."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from bcai.sdk.client import SDK
from bcai.sdk.draft import Quantity
from bcai.sdk.learning_rate import LearningRate
from bcai.sdk.trained import Trained

if TYPE_CHECKING:
    from bcai.sdk.training import Parameters
    from bcai.vm.compiler.training_step import Optimizer


class FitOptions(TypedDict, total=False):
    """The keyword arguments; a test holds them against the function."""

    loss: "str | Callable[[Any, Any], Any] | None"
    optimizer: "str | Optimizer"
    learning_rate: LearningRate
    epochs: int
    batch_size: int
    seed: int
    shuffle: bool
    max_norm: float | None
    parameters: "Parameters | None"
    checkpoint_every: int | None
    resume: Trained | None
    client: SDK | None
    name: str | None
    limits: Mapping[str, Quantity] | None
    timeout: float | str
    max_retries: int
    labels: Mapping[str, str] | None
    verify: str


DRAFTED = ("name", "limits", "timeout", "max_retries", "labels", "verify")
"""Options of the job. All others but `resume` and `client` are the plan's."""
