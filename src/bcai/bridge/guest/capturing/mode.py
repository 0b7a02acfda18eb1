"""The dispatch mode: every ATen operation of the script becomes instructions of the node's.

Autograd works above it, so the operations of the backward pass and of the optimizer arrive as
well. What no rule says is executed by the script's own torch, on values that are fetched for it;
the node is told which operation it was, and its results are handed over as values of the script's.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bcai.base.errors import VerifyError
from bcai.bridge.guest.capturing import apart, inplace, together
from bcai.bridge.guest.capturing.cells import Cells
from bcai.bridge.guest.capturing.exchange import IN_CHILD
from bcai.bridge.guest.capturing.following import can_follow_write, follow
from bcai.bridge.guest.capturing.indices import BOUNDED, bounds_of
from bcai.bridge.guest.capturing.inside_torch import decomposition_of, is_composite
from bcai.bridge.guest.capturing.lines import user_line
from bcai.bridge.guest.capturing.shapes import meta_like
from bcai.bridge.guest.capturing.writing import RULES, Writer
from bcai.bridge.guest.export.types import DTYPES, UnsupportedError, type_of
from bcai.vm.isa.symbol import Symbol

_LOOKS = {"aten._has_same_storage_numel.default"}
"""They ask how tensors lie, and for no value."""
_OWN = frozenset({"aten._unsafe_view.default", "aten.lift_fresh.default", "aten.lift.default"})
_STRIDED = torch.strided
INSTRUCTIONS_MAX = 4096
"""Of one part: a script that never reads a value must not collect for ever."""


class CaptureMode(TorchDispatchMode):
    """Active while the script runs."""

    def __init__(self, cells: Cells) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.cells = cells
        self._writer = Writer(cells)
        self._plans: dict[Any, Callable[..., Any]] = {}
        self._apart: set[Any] = set()
        self._writes: dict[Any, inplace.InPlace | None] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No wrapper around every call: torch.compile is switched off as a whole."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take one operation."""
        del types
        given = kwargs or {}
        if os.getpid() != self.cells.exchange.job:
            return self._in_child(func, args, given)
        with self.cells.lock:
            plan = self._plans.get(func)
            if plan is None:
                plan = self._plans[func] = self._plan_of(func)
            found = plan(func, args, given)
            if len(self.cells.exchange.part.instructions) >= INSTRUCTIONS_MAX:
                self.cells.hand_over()
            return found

    def _plan_of(self, func: Any) -> Callable[..., Any]:
        """What becomes of an operation."""
        name = str(func)
        if not name.startswith("aten."):
            return self._unmapped if name.split(".")[0] not in ("prim", "profiler") else _as_it_is
        if name in _LOOKS:
            return _as_it_is
        if _gives_no_tensor(func):
            return self._read
        if torch.Tag.inplace_view in func.tags:
            return self._seen_otherwise  # only how the tensor lies changes
        if name in _OWN or _returns_view(func):  # some copy, where the tensor lies otherwise
            return self._decomposed if is_composite(func) else self._seen_otherwise
        if name in together.EXPANDED:
            return self._expanded
        if name in inplace.WRITERS:
            return self._beside
        if func._schema.is_mutable:
            plan = self._in_place
        else:
            plan = self._captured if name in RULES else self._decomposed
        is_bounded = func._schema.name.removeprefix("aten::").removesuffix("_") in BOUNDED
        return self._bounded(plan) if is_bounded else plan

    def _bounded(self, plan: Callable[..., Any]) -> Callable[..., Any]:
        """The plan, for indices that lie within their axis: see Note [Indices that are known]."""

        def look(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            for bound in bounds_of(func, args):
                if not self.cells.holds_values(bound.indices):
                    self.cells.exchange.note_indices(func, user_line())
                elif not bound.is_kept:
                    return self._unmapped(func, args, kwargs)
            return plan(func, args, kwargs)

        return look

    def _captured(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write an operation's instructions; its results are new tensors."""
        try:
            values, results = self._writer.write(
                func, args, kwargs, lambda: self._writer.shown(func, args, kwargs)
            )
            return follow(self.cells, func, args, kwargs, self._writer.tensors(values, results))
        except (UnsupportedError, VerifyError):
            return self._taken_apart(func, args, kwargs)
        except _REFUSALS:
            return self._unmapped(func, args, kwargs)

    def _in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write to a tensor: the operation without the write, then its result in that place."""
        plan = self._writes.get(func, ...)
        if plan is ...:
            plan = self._writes[func] = inplace.in_place(func)
        if plan is None or str(plan.other) not in RULES:
            return self._unmapped(func, args, kwargs)
        other = plan.other
        targets, rest, given = plan.parts(func, args, kwargs)

        def shown() -> Any:
            if plan.keeps_type:
                return meta_like(targets[0])
            return self._writer.shown(other, rest, given)

        try:
            values, found = self._writer.write(other, rest, given, shown)
            results = [found] if isinstance(found, Symbol) else found
            if not plan.keeps_type:
                inplace.make_room(targets, [values] if isinstance(found, Symbol) else values)
            if not _fit(results, targets):
                return self._unmapped(func, args, kwargs)
            is_followed = can_follow_write(self.cells, func, args)
            for target, result in zip(targets, results, strict=True):
                self.cells.write(target, result)
            if is_followed:
                func(*args, **kwargs)
                self.cells.mark_read(targets[0])
            return targets[0] if len(targets) == 1 else tuple(targets)
        except _REFUSALS:
            return self._unmapped(func, args, kwargs)

    def _beside(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that also writes to some of its arguments, which its schema hides."""
        other, plain, written = inplace.written_beside(func, args, kwargs)
        try:
            values = self._writer.shown(other, plain, {})
            _, results = self._writer.write(other, plain, {}, lambda: values)
        except _REFUSALS:
            return self._unmapped(func, args, kwargs)
        count = len(func._schema.returns)
        for target, place in written:
            self.cells.write(target, results[place])
        return self._writer.tensors(tuple(values)[:count], results[:count])

    def _expanded(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self:
            return together.expand(func, args, kwargs)

    def _decomposed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that torch says in terms of others."""
        with self:
            found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return self._taken_apart(func, args, kwargs)

    def _taken_apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that torch's compilers, or this package, say in terms of others."""
        rule = apart.RULES.get(str(func)) or decomposition_of(func)
        if (
            rule is None
            or func in self._apart
            or str(func) in inplace.NOT_TAKEN_APART
            or not all(map(_is_plain, args))
        ):
            return self._unmapped(func, args, kwargs)
        self._apart.add(func)
        try:
            with self:
                found = rule(*args, **kwargs)
        finally:
            self._apart.discard(func)
        return self._unmapped(func, args, kwargs) if found is NotImplemented else found

    def _seen_otherwise(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A view shares its storage, and so its cell; one of a sparse tensor is made anew."""
        if all(not isinstance(each, torch.Tensor) or each.layout is _STRIDED for each in args):
            return func(*args, **kwargs)
        return self._unmapped(func, args, kwargs)

    def _read(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the script see values: what it does with them is its own."""
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, torch.Tensor):
                self.cells.read(each)
        return func(*args, **kwargs)

    def _unmapped(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the script's own torch execute it, and say so."""
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        for each in tensors:
            if self.cells.is_absent(each):
                raise RuntimeError(f"capture: {func} needs a value that was not captured")
            self.cells.read(each)
        found = func(*args, **kwargs)
        place = user_line()
        self.cells.exchange.link.unmapped(str(func), place)
        origin = f"{func} {place}"
        for each in [*inplace.written_by(func, args, kwargs), *_fresh(found, tensors)]:
            self.cells.forget(each, origin)
        return found

    def _in_child(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, torch.Tensor) and not self.cells.holds_values(each):
                raise RuntimeError(f"{IN_CHILD} (it was for {func})")
        return func(*args, **kwargs)


def _as_it_is(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


def _is_plain(value: Any) -> bool:
    """Whether an argument is no tensor that the instruction set cannot say."""
    return not isinstance(value, torch.Tensor) or (
        value.layout is _STRIDED and value.dtype in DTYPES
    )


def _returns_view(func: Any) -> bool:
    """Whether a result is another way to see an argument."""
    schema = func._schema
    return not schema.is_mutable and any(
        each.alias_info is not None and not each.alias_info.is_write for each in schema.returns
    )


def _fit(results: Sequence[Symbol | None], targets: Sequence[torch.Tensor]) -> bool:
    found = [None if each is None else each.type for each in results]
    return found == [type_of(each) for each in targets]


def _gives_no_tensor(func: Any) -> bool:
    """Whether all that comes of an operation are numbers of Python, or an error."""
    schema = func._schema
    return not schema.is_mutable and not any("Tensor" in str(each.type) for each in schema.returns)


def _fresh(found: Any, known: list[torch.Tensor]) -> list[torch.Tensor]:
    there = {id(each) for each in known}
    return [
        each
        for each in tree_leaves(found)
        if isinstance(each, torch.Tensor) and id(each) not in there
    ]


_REFUSALS = (UnsupportedError, VerifyError, NotImplementedError, RuntimeError, TypeError)
"""Whatever a rule or torch's own look at the shapes cannot say; errors of the script come back
when its torch executes the operation."""
