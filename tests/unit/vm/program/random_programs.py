"""Random legal programs for hypothesis, made of the calls that each instruction must accept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import bind_attributes, infer

ELEMENTS_MAX = 600  # of all operands together: programs that run are many, not large

CALLS: tuple[tuple[Op, Case], ...] = tuple(
    (op, case)
    for _, op in sorted(LATEST.by_opcode.items())
    for case in op.type_rule.accepts
    if sum(each.elements for each in case.operands if each is not None) <= ELEMENTS_MAX
)

_NAME_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
NAMES = st.text(_NAME_CHARACTERS, min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and '"' not in text
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@dataclass(frozen=True)
class _Planned:
    """A call whose operands are numbers of values, None where absent."""

    op: Op
    case: Case
    operands: tuple[int | None, ...]


@st.composite
def programs(draw: st.DrawFn, length_max: int = 12) -> VerifiedProgram:
    """A legal program: calls whose operands are results of others where types allow."""
    calls = draw(st.lists(st.sampled_from(CALLS), max_size=length_max))
    reuse = draw(st.randoms(use_true_random=False))
    ports: list[TensorType] = []
    made: dict[TensorType, list[tuple[int, int]]] = {}  # type > (call or -1, number)
    chosen: list[list[tuple[int, int] | None]] = []
    for position, (op, case) in enumerate(calls):
        operands: list[tuple[int, int] | None] = []
        for type_ in case.operands:
            if type_ is None:
                operands.append(None)
                continue
            known = made.setdefault(type_, [])
            if not known or reuse.random() < 0.3:
                known.append((-1, len(ports)))
                ports.append(type_)
            operands.append(reuse.choice(known))
        results = infer(op, case.operands, bind_attributes(op, case.attributes))
        for number, type_ in enumerate(results):
            made.setdefault(type_, []).append((position, number))
        chosen.append(operands)
    names = draw(st.lists(NAMES, min_size=len(ports), max_size=len(ports), unique=True))
    split = draw(st.integers(0, len(ports)))
    builder = Builder()
    builder.metadata.update(draw(st.dictionaries(TEXTS, TEXTS, max_size=3)))
    symbols = [
        builder.input(name, type_) if number < split else builder.parameter(name, type_)
        for number, (name, type_) in enumerate(zip(names, ports, strict=True))
    ]
    results_of: list[tuple[Symbol, ...]] = []
    for (op, case), operands in zip(calls, chosen, strict=True):
        given = [_symbol(each, symbols, results_of) for each in operands]
        results_of.append(builder.emit(op.name, given, case.attributes))
    values = [*symbols, *(each for results in results_of for each in results)]
    wanted = draw(st.lists(st.sampled_from(values), max_size=5)) if values else []
    out = draw(st.lists(NAMES, min_size=len(wanted), max_size=len(wanted), unique=True))
    return builder.finish(**dict(zip(out, wanted, strict=True)))


def _symbol(
    place: tuple[int, int] | None,
    symbols: Sequence[Symbol],
    results_of: Sequence[tuple[Symbol, ...]],
) -> Symbol | None:
    if place is None:
        return None
    call, number = place
    return symbols[number] if call < 0 else results_of[call][number]


def values_for(program: VerifiedProgram, seed: int) -> dict[str, Array]:
    """Values for a program's ports: small numbers, such as indices like them."""
    random = np.random.default_rng(seed)
    return {port.name: _value(random, port.type) for port in program.program.ports}


def _value(random: np.random.Generator, type_: TensorType) -> Array:
    if type_.dtype in FLOATS:
        drawn = random.uniform(-2.0, 2.0, type_.shape)
    else:
        drawn = random.integers(0, 3, type_.shape)
    return np.asarray(drawn).astype(type_.dtype.numpy)


def run_nothing(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
    """Stand in for Python code: zeros of the declared types."""
    del inputs
    return {name: np.zeros(type_.shape, type_.dtype.numpy) for name, type_ in code.outputs.items()}


def tiny() -> VerifiedProgram:
    """A program small enough to be broken by hand."""
    builder = Builder()
    builder.metadata |= {"a": "1", "b": "2"}
    x = builder.input("x", TensorType(DType.float32, (2, 3)))
    w = builder.parameter("w", TensorType(DType.float32, (3, 2)))
    product = builder.emit("MatMul", (x, w), {})[0]
    total = builder.emit("Sum", (product,), {"axes": (0,), "keepdims": False})[0]
    return builder.finish(y=product, total=total)
