"""Few long rows, shared out: their chunks are units, and a second launch folds the chunks' values.

The bits are those of one thread, because that is how a row is folded anyhow (Note [Order of a
sum]).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.loops.form import Access, Form, FormNode, Read, Store
from bcai.vm.backends.native.loops.lane_units import takes_lanes
from bcai.vm.backends.native.loops.schedule import levels, operands_of, varying
from bcai.vm.backends.native.loops.shares import shares, vector_count
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.compiler.plan import Apply, Fold, row_major
from bcai.vm.isa.order import CHUNK, LANES
from bcai.vm.isa.types import DType

CHUNKS_MIN = 16
"""Of a row that is worth sharing out."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """A form with the addresses of its arguments."""

    form: Form
    addresses: tuple[Address, ...]


def is_worth_splitting(form: Form, scope: Scope) -> bool:
    """Whether units are too few for the threads, and long enough to be cut further."""
    if not form.folds or scope.threads == 1:
        return False
    if shares(form, scope.target).units >= 2 * scope.threads:
        return False
    if form.columns:
        return takes_lanes(form, vector_count(form, scope.target))
    return math.prod(form.row) > CHUNKS_MIN * CHUNK


def split(form: Form, addresses: Sequence[Address], scope: Scope) -> list[Addressed]:
    """The forms that do a form's work, in order: chunks or lanes, totals, and what is left."""
    level = levels(form)
    first = [n for n, each in enumerate(form.nodes) if isinstance(each, Fold) and level[n] == 1]
    chunks, kept = -(-math.prod(form.row) // CHUNK), math.prod(form.outer)
    all_ = list(addresses)

    def temporary(dtype: DType, pieces: int, width: int) -> Access:
        buffer = scope.temporary(kept * pieces * dtype.itemsize)
        all_.append(Address(buffer))
        strides = (*(each * width for each in row_major(form.outer)), *(0 for _ in form.row))
        return Access(len(all_) - 1, dtype, strides)

    totals = {number: temporary(form.dtype(number), 1, 1) for number in first}
    wide = {number: _wide(form.dtype(number)) for number in first}
    if form.columns:
        parts = {number: temporary(wide[number], chunks * LANES, 1) for number in first}
    else:
        parts = {number: temporary(wide[number], chunks, chunks) for number in first}
    pieces = tuple(Store(number, parts[number], True) for number in first)
    found = [compact(replace(form, stores=pieces, partial=True), all_)]
    count, step = (LANES, kept) if form.columns else (chunks, 1)
    if form.columns and chunks > 1:
        lanes = parts
        parts = {number: temporary(wide[number], chunks, 1) for number in first}
        found += [
            compact(_of_lanes(form, number, lanes[number], parts[number], chunks), all_)
            for number in first
        ]
        count = chunks
    rest = compact(_with_totals(form, totals), all_)
    if any(varying(rest.form)) or rest.form.folds:
        sums = tuple(Store(number, totals[number], True) for number in first)
        found.append(compact(_of_chunks(replace(form, stores=sums), parts, count, step), all_))
        found += _left(rest, scope)
    else:
        found.append(compact(_of_chunks(form, parts, count, step), all_))
    return found


def _wide(dtype: DType) -> DType:
    """What sums of a type are before they are rounded."""
    return DType.float32 if dtype in (DType.float16, DType.bfloat16) else dtype


def _of_lanes(form: Form, number: int, lanes: Access, sums: Access, chunks: int) -> Form:
    """The fold of the 32 lanes of every chunk of columns."""
    node, kept = form.nodes[number], math.prod(form.outer)
    assert isinstance(node, Fold)
    along = lanes.strides[: len(form.outer)]
    read = replace(lanes, strides=(LANES * kept, *along, kept))
    stored = replace(sums, strides=(kept, *along, 0))
    return Form(
        (chunks, *form.outer),
        (LANES,),
        (Read(read), replace(node, operand=0, dtype=lanes.dtype)),
        (Store(1, stored, True),),
        columns=True,
    )


def _left(rest: Addressed, scope: Scope) -> list[Addressed]:
    """What is left after the first folds: more folds, or elements, and single values of rows."""
    form = rest.form
    if form.folds and not form.columns:
        return split(form, rest.addresses, scope)
    if form.folds:
        return [rest]
    form = replace(form, columns=False)
    singles = tuple(each for each in form.stores if each.once_a_row)
    whole = tuple(each for each in form.stores if not each.once_a_row)
    found = [compact(replace(form, stores=whole), rest.addresses)] if whole else []
    if singles:
        few = _of_chunks(replace(form, stores=singles), {}, 1, 1)
        found.append(compact(few, rest.addresses))
    return found


def _with_totals(form: Form, totals: dict[int, Access]) -> Form:
    """The form with the first folds read from memory."""
    nodes = tuple(
        Read(totals[number]) if number in totals else node for number, node in enumerate(form.nodes)
    )
    return replace(form, nodes=nodes)


def _of_chunks(form: Form, parts: dict[int, Access], count: int, step: int) -> Form:
    """The form with the first folds over values `step` apart; nothing else may vary along a row."""
    outer, shift = len(form.outer), len(parts)
    place = {number: at for at, number in enumerate(parts)}
    reads = [Read(replace(each, strides=(*each.strides[:outer], step))) for each in parts.values()]

    def access(each: Access) -> Access:
        return replace(each, strides=(*each.strides[:outer], 0))

    def moved(number: int, node: FormNode) -> FormNode:
        if number in place and isinstance(node, Fold):
            return replace(node, operand=place[number])
        if isinstance(node, Apply):
            return replace(node, operands=tuple(each + shift for each in node.operands))
        if isinstance(node, Fold):
            return replace(node, operand=node.operand + shift)
        if isinstance(node, Read):
            return Read(access(node.access))
        return node

    nodes = (*reads, *(moved(number, node) for number, node in enumerate(form.nodes)))
    stores = (
        replace(each, node=each.node + shift, access=access(each.access)) for each in form.stores
    )
    return replace(form, row=(count,), nodes=nodes, stores=tuple(stores))


def compact(form: Form, addresses: Sequence[Address]) -> Addressed:
    """The form without nodes and arguments that it does not need."""
    needed = {each.node for each in form.stores}
    for number in reversed(range(len(form.nodes))):
        if number in needed:
            needed.update(operands_of(form, number))
    numbers = {number: at for at, number in enumerate(sorted(needed))}
    used = sorted(
        {node.access.slot for n in needed if isinstance(node := form.nodes[n], Read)}
        | {each.access.slot for each in form.stores}
    )
    slots = {slot: at for at, slot in enumerate(used)}

    def access(each: Access) -> Access:
        return replace(each, slot=slots[each.slot])

    def moved(node: FormNode) -> FormNode:
        if isinstance(node, Apply):
            return replace(node, operands=tuple(numbers[each] for each in node.operands))
        if isinstance(node, Fold):
            return replace(node, operand=numbers[node.operand])
        return Read(access(node.access)) if isinstance(node, Read) else node

    stores = (
        Store(numbers[each.node], access(each.access), each.once_a_row) for each in form.stores
    )
    nodes = tuple(moved(form.nodes[number]) for number in sorted(needed))
    made = replace(form, nodes=nodes, stores=tuple(stores))
    return Addressed(made, tuple(addresses[slot] for slot in used))
