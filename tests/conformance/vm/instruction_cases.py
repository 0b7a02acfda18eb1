"""Calls of instructions, made from what their declarations say; no instruction is named here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bcai.base.errors import InputError, VerifyError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, FLOATS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import bind_attributes, infer

OPS = [op for _, op in sorted(LATEST.by_opcode.items())]
SUBSTITUTED_ELEMENTS_MAX = 4096
"""Larger cases run in their own element types only, so that the suite stays quick."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One legal call, its program (outputs "0", "1", ...) and its symbols."""

    op: Op
    case: Case
    program: VerifiedProgram

    @property
    def results(self) -> tuple[TensorType, ...]:
        """Inferred types of the results."""
        return tuple(self.program.output_types.values())


def build(op: Op, case: Case) -> Accepted:
    """Write the program that is this one call. Raises VerifyError if it is not legal."""
    builder, operands = open_program(case)
    results = builder.emit(op.name, operands, case.attributes)
    outputs = {str(index): each for index, each in enumerate(results)}
    return Accepted(op, case, builder.finish(**outputs))


def open_program(case: Case) -> tuple[Builder, list[Symbol | None]]:
    """Start a program with an input for every present operand, named after its place."""
    builder = Builder()
    return builder, [
        None if type_ is None else builder.input(str(index), type_)
        for index, type_ in enumerate(case.operands)
    ]


def is_legal(op: Op, case: Case) -> bool:
    """Whether the verifier lets the call through."""
    try:
        infer(op, case.operands, bind_attributes(op, case.attributes))
    except VerifyError:
        return False
    return True


def of_every_dtype(op: Op, case: Case) -> Iterator[Case]:
    """The case itself, then in every other element type that the type rule lets through.

    Operands that share an element type change together, and with them the attributes that name it.
    """
    yield case
    present = [each for each in case.operands if each is not None]
    if sum(each.elements for each in present) > SUBSTITUTED_ELEMENTS_MAX:
        return
    for old in sorted({each.dtype for each in present}):
        for new in sorted(ANY - {old}):
            changed = substitute(case, old, new)
            if is_legal(op, changed):
                yield changed


def substitute(case: Case, old: DType, new: DType) -> Case:
    """Put one element type in another's place."""
    return Case(
        tuple(
            each.with_dtype(new) if each is not None and each.dtype is old else each
            for each in case.operands
        ),
        {
            name: new if type(value) is DType and value is old else value
            for name, value in case.attributes.items()
        },
    )


def of_degenerate_shapes(op: Op, case: Case) -> Iterator[Case]:
    """The case with one size replaced by 0 or by 1 everywhere, and with scalars, where legal."""
    sizes = sorted({n for each in case.operands if each is not None for n in each.shape})
    for old in sizes:
        for new in {0, 1} - {old}:
            changed = Case(_resize(case.operands, old, new), _resize_all(case.attributes, old, new))
            for candidate in (Case(changed.operands, case.attributes), changed):
                if is_legal(op, candidate):
                    yield candidate
                    break
    scalars = tuple(None if each is None else each.with_shape() for each in case.operands)
    if is_legal(op, Case(scalars, case.attributes)):
        yield Case(scalars, case.attributes)


def _resize(
    operands: Sequence[TensorType | None], old: int, new: int
) -> tuple[TensorType | None, ...]:
    return tuple(
        each and each.with_shape(*(new if size == old else size for size in each.shape))
        for each in operands
    )


def _resize_all(attributes: Mapping[str, Any], old: int, new: int) -> dict[str, Any]:
    return {
        name: tuple(new if size == old else size for size in value)
        if name in ("shape", "sizes", "input_shape", "weight_shape")
        else value
        for name, value in attributes.items()
    }


def draws(case: Case) -> Iterator[dict[str, Array]]:
    """Values for a call's operands; the next draw is for instructions that refuse the last.

    Indices must be in range, a divisor must not be 0, a logarithm wants positive numbers: of these
    draws one suits every instruction.
    """
    floats = ((-2.0, 2.0), (0.1, 0.9), (1.1, 2.0), (0.1, 0.9), (0.1, 0.9))
    integers = ((-2, -1, 0, 1), (-2, -1, 1, 2, 3), (0, 1), (0,), (1,))
    for number, (bounds, choices) in enumerate(zip(floats, integers, strict=True)):
        random = np.random.default_rng(number)
        values = {
            str(index): _draw(random, each, bounds, choices)
            for index, each in enumerate(case.operands)
            if each is not None
        }
        for value in values.values():
            value.flags.writeable = False  # a body that changes its operands fails
        yield values


def _draw(
    random: np.random.Generator,
    type_: TensorType,
    bounds: tuple[float, float],
    choices: Sequence[int],
) -> Array:
    if type_.dtype in FLOATS:
        return np.asarray(random.uniform(*bounds, type_.shape)).astype(type_.dtype.numpy)
    if type_.dtype is DType.bool:
        return np.asarray(random.integers(0, 2, type_.shape)).astype(np.bool_)
    allowed = [each for each in choices if each >= 0 or type_.dtype is not DType.uint8]
    return np.asarray(random.choice(allowed or [0], type_.shape)).astype(type_.dtype.numpy)


REFERENCE = ReferenceInterpreter()


def run(accepted: Accepted) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run on the first draw that is not refused; return operands and results.

    Raises
    ------
    InputError
        Every draw is refused.
    """
    refused: InputError | None = None
    for values in draws(accepted.case):
        try:
            return values, REFERENCE.run(accepted.program, values)
        except InputError as error:
            refused = error
    raise refused or AssertionError("no draws")


def run_finite(accepted: Accepted) -> dict[str, Array] | None:
    """Operands of the first draw on which every float result is finite, if there is one."""
    for values in draws(accepted.case):
        try:
            results = REFERENCE.run(accepted.program, values)
        except InputError:
            continue
        if all(np.isfinite(each).all() for each in results.values() if each.dtype.kind == "f"):
            return values
    return None
