"""The one table: which rule writes an ATen overload."""

from types import MappingProxyType

from bcai.bridge.guest.export import (
    attention,
    conv,
    creation,
    elementwise,
    indexing,
    losses,
    nn,
    random,
    recurrent,
    reductions,
    views,
)
from bcai.bridge.guest.export.site import Rule

_FAMILIES = (
    views.rule,
    elementwise.rule,
    reductions.rule,
    indexing.rule,
    creation.rule,
    nn.rule,
    losses.rule,
    conv.rule,
    attention.rule,
    recurrent.rule,
    random.rule,
)


def _merged() -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    for family in _FAMILIES:
        twice = table.keys() & family.rules.keys()
        if twice:
            raise ValueError(f"two families know {sorted(twice)}")
        table.update(family.rules)
    return table


RULES = MappingProxyType(_merged())
