"""Write the reference of the instruction set, one page for each instruction, from what it declares.

python docs/reference/instruction_pages.py [DIRECTORY]
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bcai.base.errors import InputError, RefusedError, VerifyError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.expand import expand
from bcai.vm.isa.attribute import Attribute, AttributeSchema
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.types import ANY, FLOATS, INTEGERS, NUMBERS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.text import print_program

DIRECTORY = Path(__file__).parent / "instructions"
LOWERING_LINES_MAX = 40
EXAMPLE_ELEMENTS_MAX = 24
LINE = 88


def pages() -> dict[str, str]:
    """Text of every page, by file name."""
    ops = [op for _, op in sorted(LATEST.by_opcode.items())]
    return {"groups.md": _index(ops)} | {f"{op.name}.md": page(op) for op in ops}


def page(op: Op) -> str:
    """Page of one instruction."""
    parts = [f"# {op.name}", op.doc, _table(op), _calls(op)]
    if op.is_macro:
        parts.append(_lowering(op))
    parts.append(example(op))
    return "\n\n".join(part for part in parts if part) + "\n"


def _index(ops: Sequence[Op]) -> str:
    lines = [
        "# Instructions",
        "",
        f"Instruction set {LATEST.version}: {len(ops)} instructions, by group. A macro is defined "
        "by its lowering into other instructions. These pages are written by "
        "`docs/reference/instruction_pages.py`.",
    ]
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(op.group, []).append(op)
    for group, members in groups.items():
        lines += ["", f"## {group}", "", "| | | |", "|---|---|---|"]
        for op in members:
            kind = "macro" if op.is_macro else "primitive"
            lines.append(f"| [{op.name}]({op.name}.md) | {_first_line(op)} | {kind} |")
    return "\n".join(lines) + "\n"


def _first_line(op: Op) -> str:
    return op.doc.splitlines()[0].replace("|", r"\|")


def _table(op: Op) -> str:
    rows = [
        ("Group, opcode", f"{op.group}, `0x{op.opcode:04x}`"),
        ("Operands", ", ".join(_operands(op)) or "none"),
        ("Attributes", ", ".join(_attribute(each) for each in op.attributes) or "none"),
        ("Element types", _dtypes(op.dtypes)),
        ("Bits decided by", "its lowering (a macro)" if op.is_macro else "itself (a primitive)"),
        ("Gradient", "yes" if op.differentiable else "none"),
        ("Error bound", _bound(op)),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def _operands(op: Op) -> Iterator[str]:
    for index, name in enumerate(op.operands):
        last = index == len(op.operands) - 1
        may_be_absent = index >= len(op.operands) - op.optional - op.variadic
        mark = " (any number)" if op.variadic and last else " (optional)" if may_be_absent else ""
        yield f"`{name}`{mark}"


def _attribute(schema: AttributeSchema) -> str:
    kind = " or ".join(f'"{each}"' for each in schema.choices) or schema.kind
    return f"`{schema.name}: {kind}{'' if schema.required else f' = {schema.default!r}'}`"


def _dtypes(dtypes: frozenset[DType]) -> str:
    names = {ANY: "all", NUMBERS: "all but bool", FLOATS: "floats", INTEGERS: "integers"}
    return names.get(dtypes) or ", ".join(each.name for each in sorted(dtypes))


def _bound(op: Op) -> str:
    if not op.bound.ulp and not op.bound.terms_ulp:
        return "none: correctly rounded, or no rounding"
    terms = f", and {op.bound.terms_ulp:g} for each term of a sum" if op.bound.terms_ulp else ""
    return f"{op.bound.ulp:g} units in the last place{terms}"


def _calls(op: Op) -> str:
    lines = ["## Calls", "", "```text"]
    for each in op.type_rule.accepts:
        results = ", ".join(str(type_) for type_ in _call(op, each).output_types.values())
        lines.append(f"{_written(op, each)} -> {results}")
    for each in op.type_rule.rejects:
        try:
            _call(op, each)
        except VerifyError as error:
            lines += [f"{_written(op, each)}", f"    refused: {error}"]
    return "\n".join([*lines, "```"])


def _call(op: Op, case: Case) -> VerifiedProgram:
    """Verify the program that is this one call. Raises VerifyError."""
    builder = Builder()
    names = _names(op, case)
    symbols = [
        None if type_ is None else builder.input(name, type_)
        for name, type_ in zip(names, case.operands, strict=True)
    ]
    results = builder.emit(op.name, symbols, case.attributes)
    return builder.finish(**dict(zip(_result_names(len(results)), results, strict=True)))


def _names(op: Op, case: Case) -> list[str]:
    """A name for each operand of a call; those of a variadic one are numbered."""
    fixed = [*op.operands[:-1]] if op.variadic else [*op.operands]
    more = range(max(0, len(case.operands) - len(fixed)))
    return [*fixed[: len(case.operands)], *(f"{op.operands[-1]}{index}" for index in more)]


def _result_names(count: int) -> list[str]:
    return ["y"] if count == 1 else [f"y{index}" for index in range(count)]


def _written(op: Op, case: Case) -> str:
    operands = "".join(f" {each or '_'}" for each in case.operands)
    attributes = ", ".join(f"{name}={_value(value)}" for name, value in case.attributes.items())
    return f"{op.name}{operands}" + (f" {{{attributes}}}" if attributes else "")


def _value(value: Attribute) -> str:
    return value.name if isinstance(value, DType) else repr(value)


def _lowering(op: Op) -> str:
    text = print_program(expand(_call(op, op.type_rule.accepts[0]), lambda each: each is op))
    lines = text.splitlines()[1:]
    if len(lines) > LOWERING_LINES_MAX:
        hidden = len(lines) - LOWERING_LINES_MAX
        lines = [*lines[:LOWERING_LINES_MAX], f"... and {hidden} lines more"]
    return "\n".join(["## Lowering", "", "Of the first call:", "", "```text", *lines, "```"])


def example(op: Op) -> str:
    """A few lines of Python that run, with what they print; empty if nothing here can run it."""
    cases = [
        each for each in op.type_rule.accepts if all(t is None or t.elements for t in each.operands)
    ]
    chosen = min(
        cases or op.type_rule.accepts, key=lambda each: _elements(each) > EXAMPLE_ELEMENTS_MAX
    )
    program = _call(op, chosen)
    try:
        values, results = _run(program)
    except RefusedError:
        return ""
    names = _names(op, chosen)
    lines = [
        "## Example",
        "",
        "```python",
        ">>> import numpy as np",
        ">>> from bcai.vm.backends.reference.interpreter import ReferenceInterpreter",
        *([">>> from bcai.vm.isa.types import DType"] if _names_dtype(chosen) else []),
        ">>> from bcai.vm.program.builder import Builder",
        ">>> build = Builder()",
    ]
    for name, type_ in zip(names, chosen.operands, strict=True):
        if type_ is not None:
            lines.append(f'>>> {name} = build.input("{name}", "{type_}")')
    operands = [
        "None" if type_ is None else name
        for name, type_ in zip(names, chosen.operands, strict=True)
    ]
    attributes = ", ".join(f'"{name}": {_python(each)}' for name, each in chosen.attributes.items())
    outputs = ", ".join(f"y{index}=y[{index}]" for index in range(len(results)))
    lines += _wrapped(f'>>> y = build.emit("{op.name}", [{", ".join(operands)}], {{{attributes}}})')
    lines += [f">>> program = build.finish({outputs})", ">>> values = {"]
    for name, each in values.items():
        lines += textwrap.wrap(
            f'"{name}": {_array(each)},',
            LINE,
            initial_indent="...     ",
            subsequent_indent="...         ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    lines += ["... }", ">>> found = ReferenceInterpreter().run(program, values)"]
    if not values:
        lines[-3:] = [">>> found = ReferenceInterpreter().run(program, {})"]
    for index, result in enumerate(results):
        shown = [line for line in repr(result).splitlines() if line]
        lines += [f'>>> found["y{index}"]', *shown]
    return "\n".join([*lines, "```"])


def _elements(case: Case) -> int:
    return sum(each.elements for each in case.operands if each is not None)


def _names_dtype(case: Case) -> bool:
    return any(isinstance(each, DType) for each in case.attributes.values())


def _python(value: Attribute) -> str:
    return f"DType.{value.name}" if isinstance(value, DType) else repr(value)


def _wrapped(line: str) -> list[str]:
    """Break a call after its operands where it is long."""
    if len(line) <= LINE:
        return [line]
    head, _, tail = line.partition("], ")
    return [f"{head}],", f"...     {tail}"]


def _array(array: Array) -> str:
    dtype = "bool_" if array.dtype == np.bool_ else array.dtype.name
    return f"np.array({array.tolist()}, np.{dtype})"


def _run(program: VerifiedProgram) -> tuple[dict[str, Array], list[Array]]:
    """Run on the first values that give finite results, or the first that are not refused."""
    found: tuple[dict[str, Array], list[Array]] | None = None
    for lowest, count in ((-4, 9), (1, 9), (5, 9), (1, 3), (0, 9)):
        values = {
            port.name: _values(number, port.type, lowest, count)
            for number, port in enumerate(program.program.ports)
        }
        try:
            results = list(ReferenceInterpreter().run(program, values).values())
        except InputError:
            continue
        found = found or (values, results)
        if all(np.isfinite(each).all() for each in results):
            return values, results
    assert found is not None, program
    return found


def _values(number: int, type_: TensorType, lowest: int, count: int) -> Array:
    """`count` quarters from `lowest` / 4 on; whole numbers from 0, or from 1 if that is above 0."""
    places: Any = np.arange(type_.elements).reshape(type_.shape)
    if type_.dtype.is_float:
        return ((places * 4 + 2 * number) % count + lowest).astype(type_.dtype.numpy) / 4
    if type_.dtype is DType.bool:
        return (places * 4 + number) % 3 > 0
    return (places % 2 + (lowest > 0)).astype(type_.dtype.numpy)


def main() -> None:
    """Write every page, and remove those of instructions that are no more."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    written = pages()
    for old in directory.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main()
