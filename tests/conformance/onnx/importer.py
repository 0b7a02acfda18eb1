"""From an ONNX graph to a Program: one rule per operator, in `rules`.

What decides shapes (axes, repeats, sizes, ...) must be known when a Program is written. Where ONNX
computes it, or takes it as an input, the importer runs what it has written so far on the reference
and takes the value it finds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from tests.conformance.onnx.suite import Case, Graph, agree, numpy_type
from tests.conformance.onnx.suite import Node as GraphNode

from bcai.base.errors import BcaiError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder

Results = Symbol | Sequence[Symbol | None]
Rule = Callable[["Node"], Results]
RULES: dict[str, Rule] = {}
REQUIRED: Any = object()


class UnsupportedError(Exception):
    """The importer does not take this; the message is the reason."""


def onnx_op(*names: str) -> Callable[[Rule], Rule]:
    """File a rule under these operators (decorator)."""

    def register(rule: Rule) -> Rule:
        for name in names:
            assert name not in RULES, name
            RULES[name] = rule
        return rule

    return register


@dataclass(slots=True)
class Importer:
    """A Program being written from a graph, and the values found so far."""

    builder: Builder
    opset: Mapping[str, int]
    live: list[Array]
    """Values of the ports, then of every instruction evaluated so far."""
    reference: ReferenceInterpreter = field(default_factory=ReferenceInterpreter)
    evaluated: int = 0
    ports: int = 0

    def value(self, symbol: Symbol) -> Array:
        """What the reference finds for a symbol."""
        instructions = self.builder.instructions
        while len(self.live) <= symbol.index:
            each = instructions[self.evaluated]
            operands = [None if index is None else self.live[index] for index in each.operands]
            version = self.builder.isa.version
            self.live += self.reference.step(version, each.op, operands, each.attributes)
            self.evaluated += 1
        return self.live[symbol.index]

    def depends(self, symbol: Symbol) -> bool:
        """Whether a symbol's value depends on an input."""
        wanted, count = {symbol.index}, len(self.builder.instructions)
        for position in reversed(range(count)):
            results = self.builder.results_of(position)
            if any(each.index in wanted for each in results):
                operands = self.builder.instructions[position].operands
                wanted.update(each for each in operands if each is not None)
        return any(index < self.ports for index in wanted)

    def graph(self, graph: Graph, scope: Mapping[str, Symbol]) -> list[Symbol]:
        """Write a graph whose free names are in `scope`; return its outputs."""
        known = dict(scope)
        for name, array in graph.constants.items():
            known[name] = self.constant(array)
        for each in graph.nodes:
            self._write(each, known)
        return [known[name] for name in graph.outputs]

    def constant(self, array: Array) -> Symbol:
        """A constant; UnsupportedError where the instruction set has no such element type."""
        dtype_of(array.dtype)
        return self.builder.constant(array)

    def _write(self, raw: GraphNode, known: dict[str, Symbol]) -> None:
        rule = RULES.get(raw.op)
        if rule is None:
            raise UnsupportedError(f"no rule for {raw.op}")
        inputs = [known[name] if name else None for name in raw.inputs]
        node = Node(self, raw, inputs, known)
        results = rule(node)
        every = (results,) if isinstance(results, Symbol) else tuple(results)
        for name, symbol in zip(raw.outputs, every, strict=False):
            if name and symbol is not None:
                known[name] = symbol
        missing = [name for name in raw.outputs if name and name not in known]
        if missing:
            raise UnsupportedError(f"no output {missing[0]} of {raw.op}")


@dataclass(slots=True)
class Node:
    """A node with its inputs as symbols and typed readers of its attributes."""

    importer: Importer
    raw: GraphNode
    inputs: list[Symbol | None]
    scope: Mapping[str, Symbol]

    def __getitem__(self, index: int) -> Symbol:
        """Input `index`, which must be there."""
        symbol = self.get(index)
        if symbol is None:
            raise UnsupportedError(f"{self.raw.op} without input {index}")
        return symbol

    def get(self, index: int) -> Symbol | None:
        """Input `index`, or None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def version(self) -> int:
        """Opset version of the node's domain."""
        opset = self.importer.opset
        return opset.get(self.raw.domain, opset.get("ai.onnx", max(opset.values())))

    def wants(self, index: int) -> bool:
        """Whether output `index` is asked for."""
        return index < len(self.raw.outputs) and self.raw.outputs[index] != ""

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self.raw.attributes

    def attribute(self, name: str, default: Any = REQUIRED) -> Any:
        """An attribute as it stands."""
        value = self.raw.attributes.get(name, default)
        if value is REQUIRED:
            raise UnsupportedError(f"{self.raw.op} without attribute {name}")
        return value

    def integer(self, name: str, default: Any = REQUIRED) -> int:
        """A whole number."""
        return int(self.attribute(name, default))

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """A number."""
        return float(self.attribute(name, default))

    def text(self, name: str, default: Any = REQUIRED) -> str:
        """A text."""
        return str(self.attribute(name, default))

    def integers(self, name: str, default: Any = REQUIRED) -> tuple[int, ...]:
        """Whole numbers."""
        return tuple(int(each) for each in self.attribute(name, default))

    def dtype(self, name: str, default: Any = REQUIRED) -> DType:
        """An element type, by onnx's number."""
        return dtype_of(numpy_type(self.integer(name, default)))

    def known(self, index: int) -> Array:
        """The value of an input that decides shapes."""
        return self.importer.value(self[index])

    def known_ints(self, index: int) -> tuple[int, ...]:
        """The value of an input that decides shapes, as whole numbers."""
        return tuple(int(each) for each in self.known(index).reshape(-1))

    def constant(self, array: Any, like: Symbol | DType) -> Symbol:
        """A constant in the element type of a symbol."""
        dtype = like.dtype if isinstance(like, Symbol) else like
        return self.importer.builder.constant(np.asarray(array).astype(dtype.numpy))

    def all(self, name: str, *operands: Symbol | float | None, **attributes: Any) -> Any:
        """Emit an instruction and return all its results."""
        return self.importer.builder.emit(name, operands, attributes)

    def emit(self, name: str, *operands: Symbol | float | None, **attributes: Any) -> Symbol:
        """Emit an instruction and return its first result."""
        return cast("Symbol", self.all(name, *operands, **attributes)[0])

    def where(self, mask: Symbol, yes: Symbol | float, no: Symbol | float) -> Symbol:
        """Choose by mask; a number takes the element type of the other side."""
        like = yes if isinstance(yes, Symbol) else no
        assert isinstance(like, Symbol)
        sides = (each if isinstance(each, Symbol) else like.scalar(each) for each in (yes, no))
        return self.emit("Where", mask, *sides)

    def zeros(self, shape: Sequence[int], like: Symbol, value: float = 0.0) -> Symbol:
        """A tensor of one number in the element type of a symbol."""
        return self.emit("Full", shape=tuple(shape), value=float(value), dtype=like.dtype)

    def arange(self, count: int, dtype: DType = DType.int64) -> Symbol:
        """0, 1, ... count - 1."""
        return self.emit("Arange", count=count, dtype=dtype)


def dtype_of(numpy: Any) -> DType:
    """Element type; UnsupportedError where the instruction set has none."""
    try:
        return DType.of(numpy)
    except (BcaiError, TypeError):
        name = "string" if np.dtype(numpy).kind in "OUS" else np.dtype(numpy).name
        raise UnsupportedError(f"element type {name}") from None


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def run_case(case: Case) -> str:
    """Import, verify, run and compare one test. Return why it does not pass; empty if it does."""
    try:
        found = _run(case)
    except UnsupportedError as reason:
        return str(reason)
    except (BcaiError, NotImplementedError) as error:
        return f"refused: {error}"
    for name, expected in zip(case.graph.outputs, case.expected, strict=True):
        difference = agree(found[name], expected, case.rtol, case.atol)
        if difference:
            return f"output {name}: {difference}"
    return ""


def _run(case: Case) -> dict[str, Array]:
    builder = Builder()
    named: dict[str, Array] = {}
    scope: dict[str, Symbol] = {}
    for name, value in zip(case.graph.inputs, case.inputs, strict=True):
        if not isinstance(value, np.ndarray):
            kind = "sequence" if isinstance(value, list) else "optional"
            raise UnsupportedError(f"{kind} input")
        array = cast("Array", value)
        named[name] = np.ascontiguousarray(array).reshape(array.shape)
        scope[name] = builder.input(name, TensorType(dtype_of(array.dtype), array.shape))
    for value in case.expected:
        if isinstance(value, np.ndarray):
            dtype_of(cast("Array", value).dtype)
        else:
            raise UnsupportedError("sequence or optional output")
    importer = Importer(builder, case.opset, list(named.values()), ports=len(named))
    outputs = importer.graph(case.graph, scope)
    program = builder.finish(**dict(zip(case.graph.outputs, outputs, strict=True)))
    return ReferenceInterpreter().run(program, named)
