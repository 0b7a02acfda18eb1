"""The forms that follow from the instruction set: one for each instruction."""

from collections.abc import Mapping, Sequence
from typing import cast

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.runtime.form import (
    REQUIRED,
    Field,
    FieldKind,
    Fields,
    Form,
    Start,
    TypeOf,
    Writer,
    attribute_check,
    no_starts,
)
from bcai.vm.runtime.tensor_id import TensorId

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "x": ("input",), "w": ("weight", "kernel"), "q": ("query",), "k": ("key",), "v": ("value",),
    "p": ("param",), "g": ("grad",), "m": ("moment1",),
}  # fmt: skip
_UPDATES: Mapping[str, tuple[str, ...]] = {
    "SgdStep": ("p", "m"),
    "AdamPowers": ("b1t", "b2t"),
    "AdamStep": ("p", "m", "v"),
}
"""Operands whose next values the results are: without `outputs` their ids are bound to them."""


def generated_form(op: Op) -> Form:
    """Form of an instruction: operands, attributes, and where its results go."""
    taken = {*op.operands, *(each.name for each in op.attributes)}
    fields = [_operand_field(op, index, taken) for index in range(len(op.operands))]
    fields += [
        Field(each.name, "value", " | ".join(each.choices) or each.kind, each.default,
              check=attribute_check(each))
        for each in op.attributes
    ]  # fmt: skip
    updates = _UPDATES.get(op.name)
    after = f" (default: {', '.join(updates)})" if updates else ""
    single = [name for name in ("output", "output_id") if name not in taken]
    several = [name for name in ("outputs", "output_ids") if name not in taken]
    fields.append(Field(single[0], "result", f"the first result{after}", None, tuple(single[1:])))
    fields.append(Field(several[0], "results", "every result", None, tuple(several[1:])))

    def write(writer: Writer, given: Fields) -> None:
        results = writer.emit(
            op.name, operands_of(op, writer, given), {a.name: given[a.name] for a in op.attributes}
        )
        bind_results(writer, results, given[single[0]], given[several[0]])

    def settle(given: Fields) -> Fields:
        if given[single[0]] is None and given[several[0]] is None:
            if not updates:
                raise VerifyError(f"{op.name}: {single[0]} (or {several[0]}) is missing")
            targets = tuple(given[name] for name in updates)
            if not all(isinstance(each, TensorId) for each in targets):
                raise VerifyError(f"{op.name}: {', '.join(updates)}: expected tensors, not numbers")
            return {**given, several[0]: targets}
        if given[single[0]] is not None and given[several[0]] is not None:
            raise VerifyError(f"{op.name}: {single[0]} and {several[0]}: give one of them")
        return given

    starts = _sgd_starts if op.name == "SgdStep" else no_starts
    return Form(op.name, op.doc, tuple(fields), write, starts, settle)


def _sgd_starts(given: Fields, type_of: TypeOf) -> Mapping[str, Start]:
    type_, moment = type_of(given["p"]), given["m"]
    if type_ is None or not isinstance(moment, TensorId):
        return {}
    return {moment.port: Start(type_)}


def operands_of(op: Op, writer: Writer, given: Fields) -> list[Symbol | float | None]:
    """Symbols of an instruction's operands, from fields named as they are."""
    found: list[Symbol | float | None] = []
    for name in op.operands:
        value = given[name]
        if isinstance(value, tuple):
            found += [writer.operand(each) for each in cast("tuple[object, ...]", value)]
        else:
            found.append(writer.operand(value))
    return found


def bind_results(
    writer: Writer, results: Sequence[Symbol], single: object, several: object
) -> None:
    """Give results to their tensors. Raises VerifyError if their number is wrong."""
    if several is None:
        writer.bind(single, results[0])
        return
    targets = cast("tuple[object, ...]", several)
    if len(targets) != len(results):
        raise VerifyError(f"found {len(targets)} outputs, it has {len(results)} results")
    for target, symbol in zip(targets, results, strict=True):
        writer.bind(target, symbol)


def _operand_field(op: Op, index: int, taken: set[str]) -> Field:
    name = op.operands[index]
    last = index == len(op.operands) - 1
    kind: FieldKind = "operands" if op.variadic and last else "operand"
    may_be_absent = index >= len(op.operands) - op.optional - op.variadic and kind == "operand"
    names = [name, *(each for each in _SYNONYMS.get(name, ()) if each not in taken)]
    if kind == "operands":
        aliases = () if name == "inputs" or "inputs" in taken else ("inputs",)
        return Field(name, kind, "tensors", (), aliases)
    ids = [f"{each}_id" for each in names]
    return Field(name, kind, "tensor", None if may_be_absent else REQUIRED, (*names[1:], *ids))
