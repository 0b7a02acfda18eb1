"""Gradients of what a rule writes: it is written once more, and pulled back.

Instructions that nothing needs then are left out of the part.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bcai.bridge.guest.export.site import Site
from bcai.vm.compiler.differentiate import pull_back
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder


def pulled(
    at: Site, write: Callable[[], Symbol], d: Symbol, wanted: Sequence[Symbol | None]
) -> list[Symbol | None]:
    """Gradients with respect to each of `wanted`, of what `write` writes."""
    builder = at.builder
    assert isinstance(builder, Builder)
    start = len(builder.instructions)
    result = write()
    there = {each.index for each in wanted if each is not None}
    found = pull_back(builder, start, {result.index: d.expand(*result.shape)}, there)
    return [None if each is None else found.get(each.index, each.full_like(0.0)) for each in wanted]


def only(found: Sequence[Symbol | None]) -> Symbol:
    """The gradient, where there is one."""
    (one,) = found
    assert one is not None
    return one


def first(found: Any) -> Symbol:
    """The first result of a rule."""
    return found if isinstance(found, Symbol) else found[0]
