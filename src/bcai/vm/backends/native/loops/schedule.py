"""In what order the nodes of a row are computed: passes over the row, and what lies between.

Note [Passes over a row]
    A node's level is the number of folds that lie one after the other below it. Pass p computes
    the operands of the folds of level p + 1 and what is stored of level p. What a later pass needs
    again of an earlier one is computed again if that is cheap or the row is long, else it is kept
    in the thread's memory. What is the same along the row (`steady`) is computed between passes.
"""

from dataclasses import dataclass

from bcai.vm.backends.native.loops.cost import instructions
from bcai.vm.backends.native.loops.form import Form, Read
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Apply, Fold, Place

KEPT_BYTES_MAX = 64 << 10
"""Of a row's values that are kept for later passes: they stay in the cache."""
AGAIN_MAX = 6
"""Instructions that are sooner repeated than kept."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk along the row.

    Attributes
    ----------
    level
        Its number.
    order
        Nodes that vary along the row and are computed, ascending.
    kept, reloaded
        Those that are kept for later passes, and that an earlier one has kept.
    folds, stores
        Nodes that are folded, and numbers of stores.
    steady
        Nodes that are the same along the row and can be computed before it.
    """

    level: int
    order: tuple[int, ...]
    kept: tuple[int, ...]
    reloaded: tuple[int, ...]
    folds: tuple[int, ...]
    stores: tuple[int, ...]
    steady: tuple[int, ...]


def operands_of(form: Form, number: int) -> tuple[int, ...]:
    """Nodes that a node is computed from."""
    node = form.nodes[number]
    if isinstance(node, Apply):
        return node.operands
    return (node.operand,) if isinstance(node, Fold) else ()


def varying(form: Form) -> list[bool]:
    """Which nodes vary along the row."""
    outer = len(form.outer)
    found: list[bool] = []
    for node in form.nodes:
        if isinstance(node, Read):
            found.append(any(node.access.strides[outer:]))
        elif isinstance(node, Place):
            found.append(any(node.strides[outer:]))
        else:
            found.append(isinstance(node, Apply) and any(found[each] for each in node.operands))
    return found


def levels(form: Form) -> list[int]:
    """Level of every node."""
    found: list[int] = []
    for number, node in enumerate(form.nodes):
        below = max((found[each] for each in operands_of(form, number)), default=0)
        found.append(below + isinstance(node, Fold))
    return found


def schedule(form: Form, target: Target, row_bytes: int) -> tuple[Pass, ...]:
    """The passes of a form; `row_bytes` is what one node takes to be kept."""
    varies, level = varying(form), levels(form)
    last = max(level, default=0)
    kept_bytes = 0
    available: set[int] = set()
    passes: list[Pass] = []
    for number in range(last + 1):
        folds = tuple(
            place
            for place, node in enumerate(form.nodes)
            if isinstance(node, Fold) and level[place] == number + 1
        )
        stores = tuple(
            place
            for place, each in enumerate(form.stores)
            if not each.once_a_row and level[each.node] == number
        )
        wanted = {*(operands_of(form, each)[0] for each in folds)}
        wanted |= {form.stores[each].node for each in stores}
        order, reloaded = _needed(form, varies, wanted, available)
        again = _wanted_later(form, varies, level, number)
        kept: list[int] = []
        for place in order:
            cheap = _cost(form, varies, place, target, available | set(kept)) <= AGAIN_MAX
            if place in again and not cheap and kept_bytes + row_bytes <= KEPT_BYTES_MAX:
                kept.append(place)
                kept_bytes += row_bytes
        available |= set(kept)
        steady = tuple(
            place
            for place in range(len(form.nodes))
            if not varies[place] and level[place] == number
        )
        passes.append(Pass(number, order, tuple(kept), reloaded, folds, stores, steady))
    return tuple(passes)


def _needed(
    form: Form, varies: list[bool], wanted: set[int], available: set[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Nodes to compute and nodes to reload for those that are wanted."""
    needed, reloaded = set(wanted), set[int]()
    for place in reversed(range(len(form.nodes))):
        if place not in needed or not varies[place]:
            continue
        if place in available:
            reloaded.add(place)
        else:
            needed.update(operands_of(form, place))
    order = sorted(each for each in needed - reloaded if varies[each])
    return tuple(order), tuple(sorted(reloaded))


def _wanted_later(form: Form, varies: list[bool], level: list[int], number: int) -> set[int]:
    """Nodes up to this level that later levels are computed from directly."""
    wanted = {
        operands_of(form, place)[0]
        for place, node in enumerate(form.nodes)
        if isinstance(node, Fold) and level[place] > number + 1
    }
    wanted |= {
        each.node for each in form.stores if not each.once_a_row and level[each.node] > number
    }
    for place in reversed(range(len(form.nodes))):
        if place in wanted and varies[place] and level[place] > number:
            wanted.update(operands_of(form, place))
    return {each for each in wanted if level[each] <= number}


def _cost(form: Form, varies: list[bool], place: int, target: Target, available: set[int]) -> int:
    """Instructions to compute a node again."""
    needed, total = {place}, 0
    for each in reversed(range(place + 1)):
        if each not in needed or not varies[each]:
            continue
        if each in available and each != place:
            total += 1
            continue
        total += instructions(form.nodes[each], target)
        needed.update(operands_of(form, each))
    return total
