"""Values that are computed when somebody looks: the graph behind `Tensor`.

A value is an array, or a result of an instruction over other values. Looking at one writes all that
it needs as one Program and runs it on the virtual machine. Whatever else on the way still has a
`Tensor` that somebody holds is kept with it, so that nothing is computed twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import ref

from bcai.base.errors import VerifyError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import bind_attributes, infer
from bcai.vm.runtime.enhanced_vm import EnhancedVM


@dataclass(eq=False, slots=True)
class Call:
    """One instruction over values; a number stands for a scalar."""

    name: str
    operands: tuple["Value | float | None", ...]
    attributes: Mapping[str, Any]
    results: list["ref[Value]"]


class Value:
    """An array or a promise of one. It is an Emitter, so that a Symbol of it has operators."""

    __slots__ = ("__weakref__", "array", "call", "handle", "index", "type")

    def __init__(
        self,
        type_: TensorType,
        array: Array | None = None,
        call: Call | None = None,
        index: int = 0,
    ) -> None:
        self.type = type_
        self.array = array
        self.call = call
        self.index = index
        self.handle: ref[object] | None = None

    @property
    def symbol(self) -> Symbol:
        """This value with operators that write instructions."""
        return Symbol(self, 0)

    def type_of(self, symbol: Symbol) -> TensorType:
        """Type of a symbol of a value."""
        return value_of(symbol).type

    def emit(
        self, name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, Any]
    ) -> tuple[Symbol, ...]:
        """Promise an instruction's results. Raises VerifyError."""
        return tuple(each.symbol for each in apply(name, operands, attributes))


def value_of(symbol: Symbol) -> Value:
    """The value that a symbol stands for."""
    assert isinstance(symbol.builder, Value)
    return symbol.builder


def apply(
    name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, Any]
) -> list[Value]:
    """Promise an instruction's results. Raises VerifyError."""
    op = LATEST.by_name.get(name)
    if op is None:
        raise VerifyError(f"instruction set {LATEST.version} has no {name!r}")
    values = [value_of(each) if isinstance(each, Symbol) else each for each in operands]
    bound = bind_attributes(op, attributes)
    like = next((each.type.dtype for each in values if isinstance(each, Value)), DType.float32)
    types = tuple(_type(each, like) for each in values)
    try:
        results = infer(op, types, bound)
    except VerifyError as error:
        raise VerifyError(f"{name}: {error}") from error
    call = Call(name, tuple(values), bound, [])
    promised = [Value(type_, None, call, index) for index, type_ in enumerate(results)]
    call.results = [ref(each) for each in promised]
    return promised


def _type(value: Value | float | None, like: DType) -> TensorType | None:
    if value is None or isinstance(value, Value):
        return None if value is None else value.type
    if isinstance(value, float) and not like.is_float:
        raise VerifyError(f"number {value!r} beside {like.name}; cast the tensor first")
    return TensorType(like)


def to_program(value: Value) -> tuple[VerifiedProgram, dict[str, Array]]:
    """Write a value as a program, with the arrays that it starts from."""
    program, inputs, _ = _write(value, with_handles=False)
    return program, inputs


def compute(value: Value) -> Array:
    """Array of a value, run if need be."""
    if value.array is None:
        program, inputs, wanted = _write(value, with_handles=True)
        outputs = _machine().run(program, inputs).outputs
        for name, each in wanted.items():
            each.array, each.call = outputs[name], None
    assert value.array is not None
    return value.array


@cache
def _machine() -> EnhancedVM:
    return EnhancedVM()


def _write(
    value: Value, *, with_handles: bool
) -> tuple[VerifiedProgram, dict[str, Array], dict[str, Value]]:
    leaves, calls = _needs(value)
    builder = Builder()
    inputs: dict[str, Array] = {}
    symbols: dict[Value, Symbol] = {}
    for leaf in leaves:
        assert leaf.array is not None
        name = f"x{len(inputs)}"
        inputs[name] = leaf.array
        symbols[leaf] = builder.input(name, leaf.type)
    wanted = {"y": value}
    for call in calls:
        operands = [symbols[each] if isinstance(each, Value) else each for each in call.operands]
        for result, symbol in zip(
            call.results, builder.emit(call.name, operands, call.attributes), strict=True
        ):
            found = result()
            if found is None:
                continue
            symbols[found] = symbol
            held = found.handle is not None and found.handle() is not None
            if with_handles and held and found is not value:
                wanted[f"y{len(wanted)}"] = found
    outputs = {name: symbols[each] for name, each in wanted.items()}
    return builder.finish(**outputs), inputs, wanted


def _needs(value: Value) -> tuple[list[Value], list[Call]]:
    """Arrays and calls that a value needs, each call after what it needs itself."""
    leaves: dict[Value, None] = {}
    calls: dict[Call, None] = {}
    pending: list[tuple[Value, bool]] = [(value, False)]
    while pending:
        each, is_ready = pending.pop()
        if each.call is None or each.array is not None:
            leaves[each] = None
        elif is_ready:
            calls[each.call] = None
        elif each.call not in calls:
            pending.append((each, True))
            operands = [part for part in each.call.operands if isinstance(part, Value)]
            pending += [(part, False) for part in reversed(operands)]
    return list(leaves), list(calls)
