"""How an operation's results lie and their element types, found by torch on tensors without memory.

A tensor on the meta device does not say that it stands for one on the processor, where a
convolution keeps channels last; torch's fake tensors do. It is oneDNN that keeps them: `start`
switches it off, since what it computes as one opaque operation cannot be captured, but a script
expects its results to lie as with it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from bcai.bridge.guest.capturing.geometry import contiguous
from bcai.bridge.guest.capturing.inside_torch import FakeTensorMode, with_onednn
from bcai.bridge.guest.capturing.iteration import is_dense, strides_of

KNOWN_MAX = 10_000
_COUNTING = ("arange", "range", "linspace", "logspace")
_WRAPPING = ("Scalar", "Scalar_mode")
"""Overloads that make a tensor of a number, which then is of another shape than the other one."""
_NUMBER = torch.empty(())
_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
_KEEPING = frozenset((*_LIKE, "flip", "sort", "hardtanh", "nan_to_num"))
"""Their results lie as the first operand does, where that fills its stretch of memory."""
_ROW_MAJOR = frozenset({"masked_fill"})


class Shapes:
    """Asks torch once for each operation on tensors that lie alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Any] = {}
        self._mode = FakeTensorMode()

    def of(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Results on the meta device. Raises what torch raises."""
        key = _key(func, args, kwargs)
        if key is not None and key in self._known:
            return self._known[key]
        with with_onednn(), self._mode:
            given = {name: _fake_of(name, each) for name, each in kwargs.items()}
            made = func(*tree_map(_fake, args), **given)
        found = tree_map(_meta, made)
        found = tree_map(partial(_settled, func, args, kwargs), found)
        if key is not None and len(self._known) < KNOWN_MAX:
            self._known[key] = found
        return found


def meta_like(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without memory."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _settled(func: Any, args: Sequence[Any], kwargs: dict[str, Any], found: Any) -> Any:
    """A result with the strides that torch gives axes of one element, where that is known."""
    if not isinstance(found, torch.Tensor):
        return found
    strides = found.stride()
    name = func._schema.name.removeprefix("aten::")
    if name in _ROW_MAJOR:
        strides = contiguous(found.shape)
    elif name in _KEEPING:
        is_kept = kwargs.get("memory_format") in (None, torch.preserve_format)
        if is_kept and args[0].shape == found.shape and is_dense(args[0]):
            strides = args[0].stride()
    elif operands := _operands(func, args):
        strides = strides_of(operands, found.shape)
    return torch.empty_strided(found.shape, strides, dtype=found.dtype, device="meta")


def _operands(func: Any, args: Sequence[Any]) -> list[torch.Tensor]:
    """What torch goes through together, element by element; empty if it does something else."""
    arguments = func._schema.arguments
    if (
        torch.Tag.pointwise not in func.tags
        or func._schema.name == "aten::lerp"
        or len(func._schema.returns) != 1
        or any(each.name == "memory_format" for each in arguments)
    ):
        return []
    found = [_NUMBER] if func._overloadname in _WRAPPING else []
    for argument, value in zip(arguments, args, strict=False):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif str(argument.type) == "Tensor":
            found.append(_NUMBER)
    return found


def _fake(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)


def _meta(value: Any) -> Any:
    return meta_like(value) if isinstance(value, torch.Tensor) else value


def _fake_of(name: str, value: Any) -> Any:
    if name in ("pin_memory", "generator"):
        return None
    return tree_map(_fake, value)


def _key(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[object, ...] | None:
    found, structure = tree_flatten((args, kwargs))
    leaves: list[Any] = found
    parts: list[object] = [func, structure, torch.get_default_dtype()]
    counts = func.__name__.startswith(_COUNTING)
    for each in leaves:
        if isinstance(each, torch.Tensor):
            parts.append((tuple(each.shape), each.stride(), each.dtype))
        elif isinstance(each, torch.Generator):
            parts.append(None)
        elif type(each) is float and not counts:
            parts.append(float)  # no shape depends on it, and a learning rate changes
        else:
            parts.append((each.__class__, each))
    try:
        hash(key := tuple(parts))
    except TypeError:
        return None
    return key
