"""Calls as instructions: what the rules write for them, in the part that is being written."""

from collections.abc import Callable
from typing import Any, cast

import torch

from bcai.bridge.guest.capturing import backward, backward_windows, draws
from bcai.bridge.guest.capturing.cells import Cells
from bcai.bridge.guest.capturing.recipe import ABSENT, Recipes, call_key, sharing
from bcai.bridge.guest.capturing.shapes import Shapes
from bcai.bridge.guest.capturing.site import Called, CaptureSite, Seeds
from bcai.bridge.guest.export.graph import PLACES_ONLY
from bcai.bridge.guest.export.table import RULES as FORWARD
from bcai.bridge.guest.export.types import UnsupportedError, type_of
from bcai.vm.isa.symbol import Symbol

_FAMILIES = (backward.rule, backward_windows.rule, draws.rule)
RULES = {**FORWARD} | {name: rule for family in _FAMILIES for name, rule in family.rules.items()}
"""Which rule writes an ATen overload: those of the export, and those of its own."""


class Writer:
    """Writes calls with their rules, and makes tensors that stand for the results."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._shapes = Shapes()
        self._recipes = Recipes()

    def shown(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What torch says of the results. Raises what torch raises."""
        return self._shapes.of(func, args, kwargs)

    def write(
        self, func: Any, args: Any, kwargs: dict[str, Any], values_of: Callable[[], Any]
    ) -> tuple[Any, Any]:
        """What torch says of the results, and their symbols: see Note [Calls that are alike].

        Raises
        ------
        UnsupportedError, VerifyError
            No instructions say the call.
        """
        key = call_key(func, args, kwargs)
        known = self._recipes.of(key)
        values = None if known else values_of()
        operands: list[int] = []
        given = {
            name: self._symbols(each, operands)
            for name, each in kwargs.items()
            if name not in PLACES_ONLY
        }
        taken = [self._symbols(each, operands) for each in args]
        shared, part = sharing(operands), self._cells.exchange.part
        recipe = known.get(shared) if known else None
        if recipe is not None:
            return recipe.shown, part.write_again(recipe, operands)
        if values is None:
            values = values_of()
        mark = part.mark
        draws = Seeds(part, kwargs.get("generator"))
        called: Any = Called(func, args, values)
        results = RULES[str(func)](CaptureSite(part, called, draws), *taken, **given)
        _check(results, values)
        if not draws.drawn:
            self._recipes.keep(key, shared, part.recipe_since(mark, operands, results, values))
        return values, results

    def tensors(self, values: Any, results: Any) -> Any:
        """Tensors that stand for the results, and lie as torch says."""
        if results is None:
            return None
        if isinstance(results, Symbol):
            return self._cells.new(results, values)
        made = [self._tensor(each, value) for each, value in zip(results, values, strict=False)]
        return made if isinstance(values, list) else tuple(made)

    def _symbols(self, value: Any, operands: list[int]) -> Any:
        """Symbols in the place of tensors; their numbers are added to `operands`."""
        if isinstance(value, torch.Tensor):
            if value.device.type != "cpu":
                raise UnsupportedError(f"a tensor on {value.device}")
            if self._cells.is_absent(value):
                operands.append(ABSENT)
                return None
            symbol = self._cells.symbol(value)
            operands.append(symbol.index)
            return symbol
        if isinstance(value, (list, tuple)):
            return [self._symbols(each, operands) for each in cast("list[Any]", value)]
        return value

    def _tensor(self, symbol: Symbol | None, value: torch.Tensor | None) -> torch.Tensor | None:
        """One result; torch has none where nobody asked for it."""
        if value is None:
            return None
        return self._cells.absent(value) if symbol is None else self._cells.new(symbol, value)


def _check(results: Any, values: Any) -> None:
    """Hold results against what torch says of them. Raises UnsupportedError."""
    if results is None:
        raise UnsupportedError("no result")
    ones: Any = [results] if isinstance(results, Symbol) else results
    wanted: Any = [values] if isinstance(results, Symbol) else values
    for each, value in zip(ones, wanted, strict=False):
        if isinstance(each, Symbol) and value is not None and each.type != type_of(value):
            raise UnsupportedError(f"found {each.type}, expected {type_of(value)}")
