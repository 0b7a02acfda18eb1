"""Operations that write to their arguments, in terms of others that do not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

aten: Any = torch.ops.aten

NOT_TAKEN_APART = frozenset({"aten.nonzero.default", "aten._to_copy.default"})
WRITERS = frozenset({"aten.native_batch_norm.default", "aten._native_batch_norm_legit.default"})
_OTHERS: dict[str, Any] = {
    "aten.zero_.default": aten.zeros_like.default,
    "aten.normal_.default": aten.normal_functional.default,
    "aten.uniform_.default": aten.uniform.default,
    "aten.bernoulli_.float": aten.bernoulli.p,
    "aten._index_put_impl_.default": aten.index_put.default,
}


def functional(func: Any) -> Any | None:
    """The overload that gives the result and writes nothing; None if there is none."""
    known = _OTHERS.get(str(func))
    if known is not None:
        return known
    name, overload = func._schema.name.removeprefix("aten::"), func._overloadname
    if name.endswith("_"):
        return _overload(name[:-1], overload)
    for each in (overload.removesuffix("_out"), "default", "Tensor"):
        found = _overload(name, each) if overload.endswith("out") and each != overload else None
        if found is not None:
            return found
    return None


class InPlace(NamedTuple):
    """How an operation that writes to one argument is said without the write.

    Attributes
    ----------
    other
        The overload that gives the result.
    place, name
        Of the argument that is written to.
    keeps_type
        Whether the result is like that argument, whatever the others are.
    """

    other: Any
    place: int
    name: str
    keeps_type: bool

    def parts(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, tuple[Any, ...], dict[str, Any]]:
        """What is written to, and the arguments of the other operation."""
        target = args[self.place] if self.place < len(args) else kwargs[self.name]
        given = {name: each for name, each in kwargs.items() if name != "out"} if kwargs else kwargs
        if func is aten._index_put_impl_.default:
            args = args[:4]
        return target, args, given


def in_place(func: Any) -> InPlace | None:
    """How to say an operation without its write; None if there is no other, or it writes more."""
    other = functional(func)
    written = [
        (place, each.name)
        for place, each in enumerate(func._schema.arguments)
        if each.alias_info is not None and each.alias_info.is_write
    ]
    if other is None or len(written) != 1:
        return None
    return InPlace(other, *written[0], func.__name__.split(".")[0].endswith("_"))


def written_by(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors that a call writes to, as its schema says."""
    found: list[torch.Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        found += [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]
    return found


def written_beside(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], list[tuple[torch.Tensor, int]]]:
    """Batch normalisation without its writes, and which result belongs in which tensor."""
    names = [each.name for each in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    x, weight, bias, mean, variance, training, momentum, eps = (given[name] for name in names)
    if mean is None:
        plain = (x, weight, bias, training, momentum, eps)
        return aten._native_batch_norm_legit.no_stats, plain, []
    written = [(mean, 3), (variance, 4)] if training else []
    plain = (x, weight, bias, mean, variance, training, momentum, eps)
    return aten._native_batch_norm_legit_functional.default, plain, written


def _overload(name: str, overload: str) -> Any | None:
    packet = getattr(aten, name, None)
    return getattr(packet, overload or "default", None)
