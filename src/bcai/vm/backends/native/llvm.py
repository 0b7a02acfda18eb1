"""The one typed face of llvmlite: types, values, modules and functions of LLVM IR.

Nothing else imports llvmlite.ir. No fast-math flag exists here, and nothing contracts a multiply
and an add, so that what is written is what is computed (Note [Same bits]).
"""

import struct
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

import llvmlite.ir as ir

Value: TypeAlias = ir.Value
Type: TypeAlias = ir.Type

I1, I8, I16, I32, I64, I128 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64, 128))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
VOID = ir.VoidType()
POINTER = ir.PointerType()

_Branch = AbstractContextManager[object]
_FLOAT_BITS: dict[Type, int] = {F16: 16, F32: 32, F64: 64}

Number = Value | int
"""An i64 value, or a constant that becomes one."""


def vector(type_: Type, lanes: int) -> Type:
    """`lanes` elements side by side; one lane is the plain type."""
    return type_ if lanes == 1 else ir.VectorType(type_, lanes)


def lanes_of(type_: Type) -> int:
    """Lanes of a vector type, 1 for any other."""
    return type_.count if isinstance(type_, ir.VectorType) else 1


def element_of(type_: Type) -> Type:
    """Element type of a vector, or the type itself."""
    return type_.element if isinstance(type_, ir.VectorType) else type_


def bits_of(type_: Type) -> int:
    """Bits of one element."""
    element = element_of(type_)
    if isinstance(element, ir.IntType):
        return element.width
    return _FLOAT_BITS[element]


def integer_like(type_: Type) -> Type:
    """The integer type of the same bits and lanes."""
    return vector(ir.IntType(bits_of(type_)), lanes_of(type_))


@dataclass(frozen=True, slots=True)
class Loop:
    """One round of a loop: its index, and the carried values, whose next ones go in `following`."""

    index: Value
    carried: tuple[Value, ...]
    following: list[Value]


class Module:
    """One LLVM module for one target triple."""

    def __init__(self, name: str, triple: str) -> None:
        self._module = ir.Module(name)
        self._module.triple = triple

    def __str__(self) -> str:
        return str(self._module)

    def function(
        self,
        name: str,
        parameters: Sequence[Type],
        result: Type = VOID,
        *,
        internal: bool = False,
        inline: bool | None = None,
        convention: str = "",
    ) -> "Function":
        """Start a function.

        `internal`: seen in this module only; `inline`: always or never; `convention`: how it is
        called, as LLVM names it, if not as in C.
        """
        function = ir.Function(self._module, ir.FunctionType(result, parameters), name)
        if internal:
            function.linkage = "internal"
        if inline is not None:
            function.attributes.add("alwaysinline" if inline else "noinline")
        function.calling_convention = convention
        function.attributes.add("nounwind")
        return Function(self, function)

    def has(self, name: str) -> bool:
        """Whether something of this name is there already."""
        return name in self._module.globals

    def handle(self, name: str) -> Value:
        """The function or constant of this name."""
        return self._module.globals[name]

    def declared(self, name: str, result: Type, parameters: Sequence[Type]) -> Value:
        """An intrinsic, or a function that is defined elsewhere."""
        if not self.has(name):
            ir.Function(self._module, ir.FunctionType(result, parameters), name)
        return self._module.globals[name]

    @property
    def one(self) -> object:
        """Metadata that says 1."""
        return self._module.add_metadata([ir.Constant(I32, 1)])

    def table(self, name: str, type_: Type, values: Sequence[Value | int]) -> Value:
        """An internal constant array; returns its address."""
        if not self.has(name):
            array = ir.ArrayType(type_, len(values))
            entries = [ir.Constant(type_, v) if isinstance(v, int) else v for v in values]
            variable = ir.GlobalVariable(self._module, array, name)
            variable.linkage, variable.global_constant = "internal", True
            variable.initializer = ir.Constant(array, entries)
        return self._module.globals[name]


class Function:
    """Writes the body of one function, statement after statement.

    Integers of Python stand for i64 constants wherever a `Number` is taken.
    """

    def __init__(self, module: Module, function: ir.Function) -> None:
        self.module = module
        self.handle: Value = function
        self.arguments: tuple[Value, ...] = tuple(function.args)
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        """The builder underneath, for what has no method here."""

    # Constants

    @staticmethod
    def number(value: Number) -> Value:
        """An i64."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    @staticmethod
    def constant(type_: Type, value: float) -> Value:
        """A constant in every lane; a float must be exact in the element type."""
        element = element_of(type_)
        if isinstance(element, ir.IntType):
            bits = element.width
            whole = int(value) & ((1 << bits) - 1)
            signed = whole - (1 << bits) if bits > 1 and whole >> (bits - 1) else whole
            one: object = signed
        else:
            one = _exact_float(element, value)
        lanes = lanes_of(type_)
        return ir.Constant(type_, one if lanes == 1 else [one] * lanes)

    @staticmethod
    def constants(type_: Type, values: Sequence[int | float]) -> Value:
        """A vector constant, lane by lane."""
        return ir.Constant(type_, list(values))

    @staticmethod
    def undefined(type_: Type) -> Value:
        """Any value."""
        return ir.Constant(type_, ir.Undefined)

    # Whole numbers (i64)

    def add(self, a: Number, b: Number) -> Value:
        return self.b.add(self.number(a), self.number(b))

    def sub(self, a: Number, b: Number) -> Value:
        return self.b.sub(self.number(a), self.number(b))

    def mul(self, a: Number, b: Number) -> Value:
        return self.b.mul(self.number(a), self.number(b))

    def div(self, a: Number, b: Number) -> Value:
        """Quotient, truncated."""
        return self.b.sdiv(self.number(a), self.number(b))

    def rem(self, a: Number, b: Number) -> Value:
        return self.b.srem(self.number(a), self.number(b))

    def less(self, a: Number, b: Number) -> Value:
        return self.b.icmp_signed("<", self.number(a), self.number(b))

    def equal(self, a: Number, b: Number) -> Value:
        return self.b.icmp_signed("==", self.number(a), self.number(b))

    def minimum(self, a: Number, b: Number) -> Value:
        return self.b.select(self.less(a, b), self.number(a), self.number(b))

    def maximum(self, a: Number, b: Number) -> Value:
        return self.b.select(self.less(a, b), self.number(b), self.number(a))

    # Memory

    def offset(self, pointer: Value, count: Number, type_: Type = I8) -> Value:
        """Address of element `count` of `type_` from `pointer`."""
        return self.b.gep(pointer, [self.number(count)], source_etype=type_)

    def load(self, pointer: Value, type_: Type) -> Value:
        """Read a value; a vector needs the alignment of its elements only."""
        return self.b.load(pointer, align=max(1, bits_of(type_) // 8), typ=type_)

    def load_pointer(self, pointer: Value) -> Value:
        """Read an address."""
        return self.b.load(pointer, align=8, typ=POINTER)

    def store(self, value: Value, pointer: Value) -> None:
        """Write a value; a vector needs the alignment of its elements only."""
        is_pointer = isinstance(value.type, ir.PointerType)
        self.b.store(value, pointer, align=8 if is_pointer else max(1, bits_of(value.type) // 8))

    def store_around(self, value: Value, pointer: Value) -> None:
        """Write a vector past the caches, to an address aligned to its size; `fence` ends it."""
        size = bits_of(value.type) * lanes_of(value.type) // 8
        stored = self.b.store(value, pointer, align=size)
        stored.set_metadata("nontemporal", self.module.one)

    def fence(self) -> None:
        """Let all stores past the caches be seen before later ones."""
        self.b.fence("seq_cst")

    def load_first(self, pointer: Value, type_: Type, count: Number, fill: Value) -> Value:
        """Read the first `count` lanes; the others take those of `fill` and touch no memory."""
        lanes = lanes_of(type_)
        if lanes == 1:
            return self.load(pointer, type_)
        mask = self.first_lanes(lanes, count)
        name = f"llvm.masked.load.v{lanes}{_short(element_of(type_))}.p0"
        mask_type = vector(I1, lanes)
        load = self.module.declared(name, type_, [POINTER, I32, mask_type, type_])
        align = ir.Constant(I32, bits_of(type_) // 8)
        return self.b.call(load, [pointer, align, mask, fill])

    def store_first(self, value: Value, pointer: Value, count: Number) -> None:
        """Write the first `count` lanes."""
        lanes = lanes_of(value.type)
        if lanes == 1:
            self.store(value, pointer)
            return
        mask = self.first_lanes(lanes, count)
        name = f"llvm.masked.store.v{lanes}{_short(element_of(value.type))}.p0"
        store = self.module.declared(name, VOID, [value.type, POINTER, I32, vector(I1, lanes)])
        self.b.call(store, [value, pointer, ir.Constant(I32, bits_of(value.type) // 8), mask])

    def first_lanes(self, lanes: int, count: Number) -> Value:
        """Mask of the lanes below `count`."""
        within = self.b.trunc(self.number(count), I32)
        places = ir.Constant(vector(I32, lanes), list(range(lanes)))
        return self.b.icmp_signed("<", places, self.splat(within, lanes))

    def prefetch(self, pointer: Value) -> None:
        """Ask for a cache line that will be read; any address will do."""
        fetch = self.module.declared("llvm.prefetch.p0", VOID, [POINTER, I32, I32, I32])
        read, near, data = (ir.Constant(I32, each) for each in (0, 3, 1))
        self.b.call(fetch, [pointer, read, near, data])

    def stack(self, type_: Type, count: int, align: int = 64) -> Value:
        """Memory of the function's own frame, one piece for each place that calls this."""
        with self.b.goto_entry_block():
            memory = self.b.alloca(ir.ArrayType(type_, count))
        memory.align = align
        memory.type = POINTER  # llvmlite gives it a typed one, which loads and stores hold against
        return memory

    # Vectors

    def splat(self, value: Value, lanes: int) -> Value:
        """The same value in every lane."""
        if lanes == 1:
            return value
        type_ = vector(value.type, lanes)
        first = self.b.insert_element(self.undefined(type_), value, ir.Constant(I32, 0))
        zeros = ir.Constant(vector(I32, lanes), [0] * lanes)
        return self.b.shuffle_vector(first, self.undefined(type_), zeros)

    def shuffle(self, a: Value, b: Value, places: Sequence[int]) -> Value:
        """Lanes of `a` followed by those of `b`, picked by place."""
        return self.b.shuffle_vector(a, b, ir.Constant(vector(I32, len(places)), list(places)))

    def lane(self, value: Value, place: int) -> Value:
        """One lane of a vector."""
        if lanes_of(value.type) == 1:
            return value
        return self.b.extract_element(value, ir.Constant(I32, place))

    def with_lane(self, value: Value, lane: Value, place: int) -> Value:
        """The vector with one lane replaced."""
        if lanes_of(value.type) == 1:
            return lane
        return self.b.insert_element(value, lane, ir.Constant(I32, place))

    def intrinsic(
        self, name: str, *operands: Value, result: Type | None = None, suffix: Type | None = None
    ) -> Value:
        """Call `llvm.<name>.<type>`; the suffix is the first operand's type unless given."""
        on = suffix or operands[0].type
        lanes = lanes_of(on)
        ending = f"v{lanes}" if lanes > 1 else ""
        declared = self.module.declared(
            f"llvm.{name}.{ending}{_short(element_of(on))}",
            result or operands[0].type,
            [each.type for each in operands],
        )
        return self.b.call(declared, operands)

    def any_lane(self, mask: Value) -> Value:
        """Whether any lane of a mask is set: an i1."""
        if lanes_of(mask.type) == 1:
            return mask
        return self.intrinsic("vector.reduce.or", mask, result=I1)

    # Control

    @contextmanager
    def loop(
        self, start: Number, stop: Number, step: Number = 1, carry: Sequence[Value] = ()
    ) -> Generator[Loop, None, None]:
        """Count from `start` below `stop`; `carry` values go round.

        In the body set `loop.following[i]`; after it `loop.following` holds the final values.
        """
        b = self.b
        start, stop, step = (self.number(each) for each in (start, stop, step))
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(I64)
        index.add_incoming(start, before)
        phis = [b.phi(each.type) for each in carry]
        for phi, value in zip(phis, carry, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", index, stop), body, done)
        b.position_at_end(body)
        loop = Loop(index, tuple(phis), list(phis))
        yield loop
        following, last = b.add(index, step), b.block
        index.add_incoming(following, last)
        for phi, value in zip(phis, loop.following, strict=True):
            phi.add_incoming(value, last)
        b.branch(head)
        b.position_at_end(done)
        loop.following[:] = phis

    @contextmanager
    def when(self, condition: Value, *, likely: bool | None = None) -> Generator[None, None, None]:
        """Run the body if an i1 is set."""
        with self.b.if_then(condition, likely=likely):
            yield

    @contextmanager
    def either(
        self, condition: Value
    ) -> Generator[
        tuple[AbstractContextManager[object], AbstractContextManager[object]], None, None
    ]:
        """`with f.either(c) as (yes, no):`, and in it `with yes:` and `with no:`."""
        with self.b.if_else(condition) as (yes, no):
            yield yes, no

    def merge(self, values: Sequence[tuple[Value, Value]]) -> Value:
        """A phi of (value, block it comes from)."""
        phi = self.b.phi(values[0][0].type)
        for value, block in values:
            phi.add_incoming(value, block)
        return phi

    @property
    def block(self) -> Value:
        """The block that is being written."""
        return self.b.block

    def call(self, function: Value, arguments: Sequence[Number]) -> Value:
        """Call a function of this module or a function pointer with its type."""
        return self.b.call(function, [self.number(each) for each in arguments])

    def call_address(
        self, address: Value, parameters: Sequence[Type], arguments: Sequence[Value], result: Type
    ) -> Value:
        """Call through an address."""
        function = ir.FunctionType(result, parameters).as_pointer()
        typed = self.b.inttoptr(self.b.ptrtoint(address, I64), function)  # `bitcast` drops the type
        return self.b.call(typed, arguments)

    def give(self, value: Number | None = None) -> None:
        """Return from the function."""
        if value is None:
            self.b.ret_void()
        else:
            self.b.ret(self.number(value))


def _short(type_: Type) -> str:
    if isinstance(type_, ir.IntType):
        return f"i{type_.width}"
    return f"f{bits_of(type_)}"


def _exact_float(type_: Type, value: float) -> float:
    code = {16: "e", 32: "f", 64: "d"}[bits_of(type_)]
    if value == value and abs(value) != float("inf"):
        rounded = cast(float, struct.unpack(code, struct.pack(code, value))[0])
        if rounded != value:
            raise ValueError(f"{value!r} is not exact in {type_}")
    return value
