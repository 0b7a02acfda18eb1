"""Writes the nodes of a form: pointers that walk, vectors of elements, single elements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from bcai.vm.backends.native.elementwise import (
    Lanes,
    apply,
    literal_element,
    load_element,
    register_type,
    store_element,
)
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.llvm import I8, I64, Function, Number, Type, Value, bits_of, vector
from bcai.vm.backends.native.loops.form import Access, Form, FormNode, Read
from bcai.vm.backends.native.loops.schedule import Pass, varying
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Apply, Fold, Literal, Place
from bcai.vm.isa.types import DType

NOTHING: Mapping[int, Value] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the loops stand: the address of every access and the value of every place."""

    addresses: tuple[Value, ...]
    places: Mapping[int, Value]


@dataclass(slots=True)
class Writer:
    """Writes nodes into a function.

    Attributes
    ----------
    count
        Elements of a vector.
    scalars
        Nodes that are the same for the vectors being written, by number.
    kept
        Addresses of what is kept of a row, by node.
    around
        Whether stores go past the caches; their addresses are aligned then.
    """

    f: Function
    target: Target
    form: Form
    count: int
    scalars: dict[int, Value] = field(default_factory=dict[int, Value])
    kept: dict[int, Value] = field(default_factory=dict[int, Value])
    around: bool = False

    @property
    def lanes(self) -> Lanes:
        """Vectors of this loop."""
        return Lanes(self.f, self.target, self.count)

    def of_count(self, count: int) -> "Writer":
        """The same with vectors of another size."""
        return replace(self, count=count)

    def start(self, addresses: Sequence[Value]) -> Cursor:
        """The cursor at index 0 of every axis."""
        places = {
            number: self.f.number(node.offset)
            for number, node in enumerate(self.form.nodes)
            if isinstance(node, Place)
        }
        return Cursor(tuple(addresses), places)

    def moved(self, cursor: Cursor, axis: int, index: Number) -> Cursor:
        """The cursor further on along an axis."""
        f = self.f
        addresses = list(cursor.addresses)
        for each in self.form.accesses:
            if stride := each.strides[axis]:
                at = f.mul(index, stride)
                addresses[each.slot] = f.offset(addresses[each.slot], at, IN_MEMORY[each.dtype])
        places = dict(cursor.places)
        for number in places:
            node = self.form.nodes[number]
            assert isinstance(node, Place)
            if stride := node.strides[axis]:
                places[number] = f.add(places[number], f.mul(index, stride))
        return Cursor(tuple(addresses), places)

    def one(self, number: int, cursor: Cursor) -> None:
        """Write a node for one element, into `scalars`."""
        node = self.form.nodes[number]
        lanes = replace(self.lanes, count=1)
        match node:
            case Read(access):
                address = cursor.addresses[access.slot]
                self.scalars[number] = load_element(lanes, address, access.dtype)
            case Place():
                self.scalars[number] = cursor.places[number]
            case Apply(op, operands, attributes, dtype):
                values = [self.scalar(each) for each in operands]
                types = [self.form.dtype(each) for each in operands]
                self.scalars[number] = apply(lanes, op, attributes, values, types, dtype)
            case Literal() | Fold():
                pass

    def scalar(self, number: int) -> Value:
        """A node that is the same along the row."""
        node = self.form.nodes[number]
        if isinstance(node, Literal):
            return literal_element(replace(self.lanes, count=1), node.value, node.dtype)
        return self.scalars[number]

    def vector(
        self,
        pass_: Pass,
        cursor: Cursor,
        at: Value,
        place: Number | None = None,
        given: Mapping[int, Value] = NOTHING,
    ) -> dict[int, Value]:
        """Write the nodes of a pass for the elements from `at` on along the vector axis.

        `place` is where they lie in what is kept of a row: `at` unless given. What is `given` is
        not written.
        """
        place = at if place is None else place
        values = dict(given)
        for number in pass_.reloaded:
            values[number] = self.load_kept(number, place)
        for number in pass_.order:
            if number not in given:
                values[number] = self._node(number, cursor, at, values)
            if number in pass_.kept:
                self.store_kept(number, values[number], place)
        for each in pass_.stores:
            store = self.form.stores[each]
            self._store(store.access, self.value(store.node, values), cursor, at)
        return values

    def value(self, number: int, values: Mapping[int, Value]) -> Value:
        """A node as a vector."""
        if number in values:
            return values[number]
        node = self.form.nodes[number]
        if isinstance(node, Literal):
            return literal_element(self.lanes, node.value, node.dtype)
        return self.f.splat(self.scalars[number], self.count)

    def _node(self, number: int, cursor: Cursor, at: Value, values: Mapping[int, Value]) -> Value:
        node, f, axis = self.form.nodes[number], self.f, self.form.vector_axis
        match node:
            case Read(access):
                return self._load(access, cursor, at)
            case Place(strides):
                stride = strides[axis]
                first = f.splat(f.add(cursor.places[number], f.mul(at, stride)), self.count)
                if self.count == 1:
                    return first
                steps = f.constants(
                    vector(I64, self.count), [each * stride for each in range(self.count)]
                )
                return f.b.add(first, steps)
            case Apply(op, operands, attributes, dtype):
                operand_values = [self.value(each, values) for each in operands]
                types = [self.form.dtype(each) for each in operands]
                return apply(self.lanes, op, attributes, operand_values, types, dtype)
            case Literal(value, dtype):
                return literal_element(self.lanes, value, dtype)
            case Fold():
                raise AssertionError("a fold is the same along its row")

    def _load(self, access: Access, cursor: Cursor, at: Value) -> Value:
        f, stride, count = self.f, access.strides[self.form.vector_axis], self.count
        type_ = IN_MEMORY[access.dtype]
        address = f.offset(cursor.addresses[access.slot], f.mul(at, stride), type_)
        if stride != -1 or count == 1:
            return load_element(self.lanes, address, access.dtype, stride=stride)
        last = f.offset(address, 1 - count, type_)
        ascending = load_element(self.lanes, last, access.dtype)
        return f.shuffle(ascending, ascending, range(count - 1, -1, -1))

    def load_along(self, number: int, cursor: Cursor) -> Value:
        """Read an operand along the axis where it is contiguous, from where the cursor stands."""
        node = self.form.nodes[number]
        assert isinstance(node, Read)
        return load_element(self.lanes, cursor.addresses[node.access.slot], node.access.dtype)

    def prefetch(self, part: Pass, cursor: Cursor, at: Value, rows: int) -> None:
        """Ask for what a part reads from `at` on, some steps further along the last axis."""
        f, axis = self.f, self.form.vector_axis
        for number in part.order:
            node = self.form.nodes[number]
            if not isinstance(node, Read):
                continue
            access, type_ = node.access, IN_MEMORY[node.access.dtype]
            if abs(access.strides[axis]) == 1 and access.strides[-1]:
                ahead = f.add(f.mul(at, access.strides[axis]), rows * access.strides[-1])
                f.prefetch(f.offset(cursor.addresses[access.slot], ahead, type_))

    def _store(self, access: Access, value: Value, cursor: Cursor, at: Value) -> None:
        f, stride = self.f, access.strides[self.form.vector_axis]
        type_ = IN_MEMORY[access.dtype]
        address = f.offset(cursor.addresses[access.slot], f.mul(at, stride), type_)
        if self.around:
            f.store_around(value, address)
        else:
            store_element(self.lanes, value, address, access.dtype, stride=stride)

    def store_one(self, access: Access, value: Value, cursor: Cursor, place: Number = 0) -> None:
        """Write one element where the cursor stands, or `place` elements on."""
        start = cursor.addresses[access.slot]
        address = self.f.offset(start, place, IN_MEMORY[access.dtype])
        store_element(replace(self.lanes, count=1), value, address, access.dtype)

    def load_kept(self, number: int, place: Number) -> Value:
        """Reload a kept node."""
        return self.load_scratch(self.kept[number], self.form.dtype(number), place)

    def store_kept(self, number: int, value: Value, place: Number) -> None:
        """Keep a node for a later pass."""
        self.store_scratch(self.kept[number], value, self.form.dtype(number), place)

    def load_scratch(self, memory: Value, dtype: DType, place: Number) -> Value:
        """Read registers from the thread's memory, as they were."""
        type_ = kept_type(dtype)
        found = self.f.load(self.f.offset(memory, place, type_), vector(type_, self.count))
        if dtype is DType.bool:
            return self.f.b.trunc(found, register_type(dtype, self.count))
        return found

    def store_scratch(self, memory: Value, value: Value, dtype: DType, place: Number) -> None:
        """Write registers to the thread's memory, as they are."""
        type_ = kept_type(dtype)
        if dtype is DType.bool:
            value = self.f.b.zext(value, vector(I8, self.count))
        self.f.store(value, self.f.offset(memory, place, type_))


def strides_of(node: FormNode) -> tuple[int, ...]:
    """How a node walks along the axes; empty for what does not."""
    if isinstance(node, Read):
        return node.access.strides
    return node.strides if isinstance(node, Place) else ()


def kept_type(dtype: DType) -> Type:
    """What an element is in the thread's memory: as in a register, bool as a byte."""
    return I8 if dtype is DType.bool else register_type(dtype, 1)


def kept_bytes(dtype: DType) -> int:
    """Bytes of an element in the thread's memory."""
    return max(1, bits_of(kept_type(dtype)) // 8)


def hoisted(form: Form) -> list[list[int]]:
    """Nodes that are the same along the row and need no fold, by the last axis they vary along.

    Entry 0 is for those that vary along none, entry i + 1 for axis i.
    """
    varies = varying(form)
    depth: list[int | None] = []
    found: list[list[int]] = [[] for _ in range(len(form.outer) + 1)]
    for number, node in enumerate(form.nodes):
        mine: int | None = -1
        if isinstance(node, (Read, Place)):
            mine = max((axis for axis, each in enumerate(strides_of(node)) if each), default=-1)
        elif isinstance(node, Fold):
            mine = None
        elif isinstance(node, Apply):
            below = [depth[each] for each in node.operands]
            known = [each for each in below if each is not None]
            mine = max(known, default=-1) if len(known) == len(below) else None
        depth.append(mine)
        if mine is not None and not varies[number]:
            found[mine + 1].append(number)
    return found
