"""Operations that write to their arguments, in terms of others that do not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from bcai.bridge.guest.capturing.inside_torch import storage_of

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
    name = func._schema.name.removeprefix("aten::")
    if name.endswith("_"):
        return _overload(name[:-1], func._overloadname)
    packet = getattr(aten, name)
    wanted = _read(func)
    others = [getattr(packet, each) for each in packet.overloads()]
    alike = [each for each in others if _read(each)[: len(wanted)] == wanted and _gives(each)]
    return next(
        (each for each in alike if {name for name, _ in _read(each)[len(wanted) :]} <= _OF_RESULTS),
        None,
    )


_OF_RESULTS = {"dtype", "layout", "device", "pin_memory"}
"""Arguments that only say of which type a result is and where: those of `out`."""


def _read(func: Any) -> list[tuple[str, str]]:
    """Names and types of the arguments that a call does not write to."""
    return [
        (each.name, str(each.type))
        for each in func._schema.arguments
        if each.alias_info is None or not each.alias_info.is_write
    ]


def _gives(func: Any) -> bool:
    """Whether a call gives tensors of its own."""
    returned = func._schema.returns
    return not func._schema.is_mutable and all("Tensor" in str(each.type) for each in returned)


class InPlace(NamedTuple):
    """How an operation that writes to arguments is said without the write.

    Attributes
    ----------
    other
        The overload that gives the results.
    written
        Place and name of each argument that a result is written to.
    keeps_type
        Whether the result is like that argument, whatever the others are.
    takes_type
        Whether the other one is told the type of the result.
    """

    other: Any
    written: tuple[tuple[int, str], ...]
    keeps_type: bool
    takes_type: bool

    def parts(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[torch.Tensor], tuple[Any, ...], dict[str, Any]]:
        """What is written to, and the arguments of the other operation."""
        targets = [
            args[place] if place < len(args) else kwargs[name] for place, name in self.written
        ]
        if self.keeps_type:
            return targets, args[:4] if func is aten._index_put_impl_.default else args, kwargs
        names = {name for _, name in self.written}
        given = {name: each for name, each in kwargs.items() if name not in names}
        if self.takes_type:
            given["dtype"] = targets[0].dtype
        return targets, args, given


def in_place(func: Any) -> InPlace | None:
    """How to say an operation without its write; None if there is no other, or it writes more."""
    other = functional(func)
    written = [
        (place, each.name)
        for place, each in enumerate(func._schema.arguments)
        if each.alias_info is not None and each.alias_info.is_write
    ]
    if other is None or len(written) != len(other._schema.returns):
        return None
    keeps_type = func.__name__.split(".")[0].endswith("_")
    takes_type = not keeps_type and ("dtype", "Optional[int]") in _read(other)[len(_read(func)) :]
    return InPlace(other, tuple(written), keeps_type, takes_type)


def make_room(targets: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Give those without memory the shape of the result, as torch does."""
    for target, value in zip(targets, values, strict=True):
        if target.shape != value.shape and not storage_of(target).nbytes():
            target.resize_(value.shape)


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
