"""PyTorch modules in the user's own process: the one place of the SDK that needs torch, lazily."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError

if TYPE_CHECKING:
    import torch

    from bcai.bridge.guest.export import Exported


def from_torch(
    module: "torch.nn.Module",
    example_inputs: "torch.Tensor | Sequence[Any] | Mapping[str, Any]",
    *,
    loss: "str | Callable[[Any, Any], torch.Tensor] | None" = None,
    train: bool | None = None,
) -> "Exported":
    """Write a PyTorch module as a Program: `program, parameters = bcai.from_torch(module, x)`.

    Parameters
    ----------
    example_inputs
        Arguments of `forward`: a tensor, a tuple, or a mapping by name. Their shapes are the
        program's. With `loss` the last one (of a mapping: `target`) is the target.
    loss
        A function or module of (output, target), or a name such as `cross_entropy`. The program
        then ends in the scalar `loss`.
    train
        Training or evaluation mode; None leaves the module as it is.

    Returns
    -------
    A verified program, and its parameters' values by name.

    Raises
    ------
    InputError
        torch is not installed, it cannot export the module, or the module uses operations that the
        instruction set does not have; the message names each with the line of the model.
    """
    try:
        from bcai.bridge.guest.export import export
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError(
            "from_torch needs PyTorch, which is not installed", hint="pip install 'bcai[ml]'"
        ) from error
    return export(module, example_inputs, loss=loss, train=train)
