"""PyTorch modules in the user's own process: the one place of the SDK that needs torch, lazily."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bcai.base.errors import InputError

if TYPE_CHECKING:
    import torch

    from bcai.bridge.guest.export import Exported
    from bcai.sdk.trained import Trained
    from bcai.vm.isa.types import Array

    Module = torch.nn.Module


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
    _need_torch("from_torch")
    from bcai.bridge.guest.export import export

    return export(module, example_inputs, loss=loss, train=train)


def first_batch(columns: "Mapping[str | int, Array]", rows: int) -> Any:
    """The first rows of some columns as tensors: by name, or as a tuple where they have none."""
    import torch

    first = {name: _tensor(torch, column[:rows]) for name, column in columns.items()}
    return first if all(isinstance(name, str) for name in first) else tuple(first.values())


def to_torch(
    trained: "Trained | Mapping[str, Any]", module: "torch.nn.Module | None" = None
) -> "torch.nn.Module":
    """Put trained weights in a PyTorch module, which goes on living as any other.

    Parameters
    ----------
    trained
        What `fit` returned, or arrays or tensors by the parameters' qualified names.
    module
        Where to put them; None: a copy of the module that was trained.

    Raises
    ------
    InputError
        torch is not installed; there is no module; a tensor is unknown to it or of another shape.
    """
    _need_torch("to_torch")
    import torch

    is_trained = not isinstance(trained, Mapping)
    given: Any = trained
    if is_trained and not hasattr(given, "history"):
        kind = type(given).__name__
        raise InputError(f"to_torch: found {kind}, expected what fit returned, or arrays by name")
    parameters: Mapping[str, Any] = trained.parameters if is_trained else trained
    if module is None:
        if not is_trained or not isinstance(trained.model, torch.nn.Module):
            raise InputError("to_torch: give the module that the parameters belong to")
        module = deepcopy(trained.model)
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in parameters.items():
        if name not in own:
            raise InputError(f"to_torch: {type(module).__name__} has no {name!r}")
        if not hasattr(value, "shape"):
            kind = type(value).__name__
            raise InputError(f"to_torch: {name!r} is {kind}, expected an array or a tensor")
        found, expected = tuple(value.shape), tuple(own[name].shape)
        if found != expected:
            raise InputError(f"to_torch: {name!r} is {found}, the module has {expected}")
    with torch.no_grad():
        for name, value in parameters.items():
            own[name].copy_(_tensor(torch, value))
    return module


def _need_torch(asked: str) -> None:
    if find_spec("torch") is None:
        raise InputError(
            f"{asked} needs PyTorch, which is not installed", hint="pip install 'bcai[ml]'"
        )


def _tensor(torch: Any, array: Any) -> Any:
    """A tensor with the same values; NumPy's own types have no bfloat16."""
    if isinstance(array, torch.Tensor):
        return array
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view("uint16").copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())
