"""How an instruction is declared: one decorated function, from which everything else derives.

The function's signature is the schema: positional parameters are operands (`bias: Array | None =
None` may be absent, `*parts: Array` takes any number), keyword-only parameters are attributes. Its
body is the meaning in NumPy and its docstring the manual. Type rule, gradient and lowering hang on
the same object:

    @instruction(opcode=0x0130, dtypes=FLOATS, types=rules.UNARY)
    def exp(x: Array) -> Array:
        '''Natural exponential of `x`.'''
        return scalar.exp(Exact(x.dtype), x)

    @exp.gradient
    def _(call: Call) -> Gradients:
        return (call.d * call.result,)

A *primitive* has no lowering: its body decides every bit. A *macro* has one: the lowering, in terms
of other instructions, decides every bit, and the body says in plain NumPy what it computes, within
`bound`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, get_type_hints

from bcai.vm.isa.attribute import Attribute, AttributeSchema, read_attribute
from bcai.vm.isa.symbol import Emitter, Symbol
from bcai.vm.isa.types import DType, TensorType, parse_type

Types = TensorType | tuple[TensorType, ...]
Gradients = tuple[Symbol | None, ...]
GradientRule = Callable[["Call"], Gradients]
LoweringRule = Callable[["Call"], Symbol | tuple[Symbol, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """One call of an instruction, by type: what the derived tests feed it."""

    operands: tuple[TensorType | None, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


def case(*operands: str | None, **attributes: Attribute) -> Case:
    """Write a case as text: `case("float32[2,3]", "float32[3]", axis=0)`; None is absent."""
    return Case(tuple(None if text is None else parse_type(text) for text in operands), attributes)


@dataclass(frozen=True, slots=True)
class TypeRule:
    """Result types from operand types and attributes, with cases that must pass and must fail."""

    infer: Callable[..., Types]
    accepts: tuple[Case, ...]
    rejects: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a result may lie from the true value, in units in the last place.

    `ulp` is per element. For sums, `terms_ulp` more for each term, in units of the sum of the
    terms' magnitudes. Both 0: correctly rounded, or no rounding at all.
    """

    ulp: float = 0.0
    terms_ulp: float = 0.0


EXACT = Bound()


@dataclass(frozen=True, slots=True)
class Call:
    """One use of an instruction, as gradient and lowering rules see it.

    `operands` has one entry for every operand of the declaration, None where it is absent.
    Rules without a symbol at hand write through `builder`.
    """

    op: "Op"
    builder: Emitter
    operands: tuple[Symbol | None, ...]
    attributes: Mapping[str, Any]
    results: tuple[Symbol, ...] = ()
    d_results: tuple[Symbol | None, ...] = ()

    def __getitem__(self, index: int) -> Symbol:
        """Operand `index`, which must be present."""
        operand = self.operands[index]
        if operand is None:
            raise LookupError(f"{self.op.name}: operand {index} is absent")
        return operand

    def get(self, index: int) -> Symbol | None:
        """Operand `index`, or None if it is absent."""
        return self.operands[index] if index < len(self.operands) else None

    @property
    def result(self) -> Symbol:
        """The first result."""
        return self.results[0]

    @property
    def d(self) -> Symbol:
        """Gradient of the loss with respect to the first result; zeros if nothing used it."""
        return self.d_of(0)

    def d_of(self, index: int) -> Symbol:
        """Gradient with respect to a result; zeros if nothing used it."""
        given = self.d_results[index]
        return self.results[index].full_like(0.0) if given is None else given


@dataclass(eq=False, slots=True)
class Op:
    """One row of the instruction set. Call it on symbols to emit it into their program."""

    name: str
    opcode: int
    group: str
    dtypes: frozenset[DType]
    operands: tuple[str, ...]
    optional: int
    """How many of the last operands may be absent."""
    variadic: bool
    attributes: tuple[AttributeSchema, ...]
    body: Callable[..., Any]
    type_rule: TypeRule
    bound: Bound
    doc: str
    gradient_rule: GradientRule | None = None
    lowering_rule: LoweringRule | None = None
    differentiable: bool = True
    pure: bool = True
    """Whether the same operands and attributes always give the same results."""

    def __call__(self, *operands: Symbol | float | None, **attributes: Any) -> Symbol:
        """Emit the instruction and return its only (or first) result."""
        return self.all(*operands, **attributes)[0]

    def all(self, *operands: Symbol | float | None, **attributes: Any) -> tuple[Symbol, ...]:
        """Emit the instruction and return all its results."""
        builder = next(each.builder for each in operands if isinstance(each, Symbol))
        return builder.emit(self.name, operands, attributes)

    def gradient(self, rule: GradientRule) -> GradientRule:
        """Attach the gradient rule (decorator); it emits instructions of this same set."""
        self.gradient_rule = rule
        return rule

    def lowering(self, rule: LoweringRule) -> LoweringRule:
        """Attach the lowering (decorator); it makes this instruction a macro."""
        self.lowering_rule = rule
        return rule

    @property
    def is_macro(self) -> bool:
        """Whether other instructions define its bits."""
        return self.lowering_rule is not None

    def __repr__(self) -> str:
        return f"<Op {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str, str], "Op"], tuple[str, str]]:
        """Copied and pickled by where it is declared: there is one of each."""
        return _declared, (self.body.__module__, self.body.__name__)


def _declared(module: str, name: str) -> Op:
    found = getattr(import_module(module), name)
    assert isinstance(found, Op)
    return found


def instruction(
    *,
    opcode: int,
    types: TypeRule,
    dtypes: frozenset[DType],
    name: str | None = None,
    bound: Bound = EXACT,
    differentiable: bool = True,
    pure: bool = True,
) -> Callable[[Callable[..., Any]], Op]:
    """Declare an instruction (decorator).

    `dtypes` are the element types of the first present operand (or of the result, where there is
    no operand). The name is the function's in CamelCase unless given; the group is its file's name.
    """

    def declare(body: Callable[..., Any]) -> Op:
        hints = get_type_hints(body)
        parameters = [
            each.replace(annotation=hints[each.name])
            for each in inspect.signature(body).parameters.values()
        ]
        operands = [each for each in parameters if each.kind is not each.KEYWORD_ONLY]
        return Op(
            name=name or "".join(part.capitalize() for part in body.__name__.split("_")),
            opcode=opcode,
            group=body.__module__.rpartition(".")[2],
            dtypes=dtypes,
            operands=tuple(each.name for each in operands),
            optional=sum(each.default is None for each in operands),
            variadic=any(each.kind is each.VAR_POSITIONAL for each in operands),
            attributes=tuple(
                read_attribute(each) for each in parameters if each.kind is each.KEYWORD_ONLY
            ),
            body=body,
            type_rule=types,
            bound=bound,
            doc=inspect.getdoc(body) or "",
            differentiable=differentiable,
            pure=pure,
        )

    return declare


def types_of(
    infer: Callable[..., Types],
    *,
    accepts: tuple[Case, ...],
    rejects: tuple[Case, ...],
) -> TypeRule:
    """Make a type rule: `infer` takes operand types and attributes as the body takes arrays."""
    return TypeRule(infer, accepts, rejects)
