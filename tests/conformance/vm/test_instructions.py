"""Every property that an instruction owes, derived from its declaration; none is named below.

`pytest tests/conformance/vm/test_instructions.py -k MatMul` runs those of one instruction. While
a version is unpublished, `python -m tests.conformance.vm.test_instructions` writes its golden file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.conformance.vm.instruction_cases import (
    OPS,
    REFERENCE,
    Accepted,
    build,
    of_degenerate_shapes,
    of_every_dtype,
    open_program,
    run,
    run_finite,
    substitute,
)

from bcai.base.errors import InputError, RefusedError, VerifyError
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST, VERSIONS
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import decode_program, encode_program
from bcai.vm.program.program import VerifiedProgram

GOLDEN = Path(__file__).parent / "golden"

EVERY = [pytest.param(op, id=op.name) for op in OPS]
ACCEPTED = [
    pytest.param(op, case, id=f"{op.name}-{index}")
    for op in OPS
    for index, case in enumerate(op.type_rule.accepts)
]
REJECTED = [
    pytest.param(op, case, id=f"{op.name}-{index}")
    for op in OPS
    for index, case in enumerate(op.type_rule.rejects)
]
DIFFERENTIABLE = [
    each for each in ACCEPTED if isinstance(op := each.values[0], Op) and op.differentiable
]
MACROS = [each for each in ACCEPTED if isinstance(op := each.values[0], Op) and op.is_macro]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_golden_file_holds_the_version(version: int) -> None:
    assert golden_file(version).read_text() == golden(version), (
        "to renew, if it is unpublished: python -m tests.conformance.vm.test_instructions"
    )


def test_names_and_opcodes_are_unique() -> None:
    assert len({op.name for op in OPS}) == len({op.opcode for op in OPS}) == len(OPS)
    assert all(0 < op.opcode < 1 << 16 for op in OPS)


@pytest.mark.parametrize("op", EVERY)
def test_declaration(op: Op) -> None:
    assert op.doc.splitlines()[0].endswith("."), "the first line of the docstring is a sentence"
    assert op.name.isidentifier()
    assert op.name[0].isupper()
    assert op.type_rule.accepts, "the rule has no case that must pass"
    assert op.type_rule.rejects, "the rule has no case that must fail"


@pytest.mark.parametrize(("op", "case"), ACCEPTED)
def test_results_have_the_inferred_types(op: Op, case: Case) -> None:
    for each in of_every_dtype(op, case):
        accepted = build(op, each)
        _, results = run_or_skip(accepted)
        assert [TensorType.of(result) for result in results.values()] == list(accepted.results)


@pytest.mark.parametrize(("op", "case"), ACCEPTED)
def test_degenerate_shapes_run(op: Op, case: Case) -> None:
    for each in of_degenerate_shapes(op, case):
        accepted = build(op, each)
        try:
            _, results = run_or_skip(accepted)
        except InputError:
            continue  # such as an index into an axis of size 0
        assert [TensorType.of(result) for result in results.values()] == list(accepted.results)


@pytest.mark.parametrize(("op", "case"), ACCEPTED)
def test_strides_do_not_change_bits(op: Op, case: Case) -> None:
    accepted = build(op, case)
    values, results = run_or_skip(accepted)
    strided = {name: spread(value) for name, value in values.items()}
    again = REFERENCE.run(accepted.program, strided)
    assert all(same(results[name], again[name]) for name in results)


@pytest.mark.parametrize(("op", "case"), REJECTED)
def test_illegal_calls_are_refused(op: Op, case: Case) -> None:
    with pytest.raises(VerifyError):
        build(op, case)


@pytest.mark.parametrize(("op", "case"), ACCEPTED)
def test_changed_calls_are_refused(op: Op, case: Case) -> None:
    with pytest.raises(VerifyError):
        build(op, Case(case.operands, {**case.attributes, "no_such": 1}))
    if not op.variadic:
        most = (*case.operands, *[None] * (len(op.operands) - len(case.operands)))
        with pytest.raises(VerifyError):
            build(op, Case((*most, TensorType(DType.float32)), case.attributes))
    for schema in op.attributes:
        wrong = 1 if schema.kind == "str" else "x"
        with pytest.raises(VerifyError):
            build(op, Case(case.operands, {**case.attributes, schema.name: wrong}))
    first = next((each for each in case.operands if each is not None), None)
    if first is not None:
        for dtype in ANY - op.dtypes:
            with pytest.raises(VerifyError):
                build(op, substitute(case, first.dtype, dtype))


@pytest.mark.parametrize(("op", "case"), ACCEPTED)
def test_bytes_round_trip(op: Op, case: Case) -> None:
    program = build(op, case).program.program
    data = encode_program(program)
    assert decode_program(data) == program
    assert encode_program(decode_program(data)) == data


@pytest.mark.parametrize("op", EVERY)
def test_float_instructions_have_a_gradient_or_say_that_they_have_none(op: Op) -> None:
    given = op.gradient_rule is not None
    if not op.differentiable:
        assert not given
    elif any(DType.float32 in {t.dtype for t in case.operands if t} for case in cases_of(op)):
        assert given or op.is_macro


@pytest.mark.parametrize(("op", "case"), DIFFERENTIABLE)
def test_gradients_have_the_operands_types(op: Op, case: Case) -> None:
    for each in of_every_dtype(op, case):
        write_gradient(op, each)


@pytest.mark.parametrize(("op", "case"), DIFFERENTIABLE)
def test_gradients_match_finite_differences(op: Op, case: Case) -> None:
    wide = substitute(case, DType.float32, DType.float64)
    accepted = build(op, wide)
    written = write_gradient(op, wide)
    if written is None or any(
        each.dtype.is_float and each.dtype is not DType.float64 for each in accepted.results
    ):
        return
    values = run_finite(accepted)
    assert values is not None, "no draw of instruction_cases.py gives finite results"
    weights = weights_of(accepted)
    found = REFERENCE.run(written, {**values, **weights})
    for name, gradient in found.items():
        assert np.isfinite(gradient).all(), f"operand {name}: {gradient}"
        for direction in directions(name, values[name]):
            expected = slope(accepted, values, weights, name, direction)
            scale = 1.0 + float(np.abs(gradient * direction).sum())
            measured = float((gradient * direction).sum())
            assert abs(measured - expected) <= 2e-6 * scale, (
                f"operand {name}: gradient gives {measured}, differences give {expected}"
            )


@pytest.mark.parametrize(("op", "case"), MACROS)
def test_lowering_agrees_with_the_body(op: Op, case: Case) -> None:
    for each in of_every_dtype(op, case):
        accepted = build(op, each)
        values, results = run_or_skip(accepted)
        operands = [wide(values.get(str(index))) for index in range(len(each.operands))]
        attributes = accepted.program.program.instructions[-1].attributes
        with np.errstate(all="ignore"):
            body = op.body(*operands, **attributes)
        bodies = cast("tuple[Array, ...]", body if isinstance(body, tuple) else (body,))
        assert len(bodies) == len(results)
        for plain, result in zip(bodies, results.values(), strict=True):
            assert np.shape(plain) == result.shape
            check_close(op, values, result, np.asarray(plain))


def wide(array: Array | None) -> Array | None:
    """What a macro's body computes with: floats as float64."""
    is_float = array is not None and DType.of(array.dtype).is_float
    return array.astype(np.float64) if array is not None and is_float else array


def check_close(op: Op, values: Mapping[str, Array], result: Array, plain: Array) -> None:
    """Compare a lowering with the body: `ulp`, and `terms_ulp` for every term of a sum."""
    dtype = DType.of(result.dtype)
    if not dtype.is_float:
        np.testing.assert_array_equal(result, plain)
        return
    wide, expected = result.astype(np.float64), plain.astype(np.float64)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(wide[~finite], expected[~finite])
    magnitude = np.abs(plain[finite]).astype(result.dtype)
    unit = np.spacing(magnitude).astype(np.float64)
    terms = max((value.size for value in values.values()), default=1)
    largest = max(
        (float(np.abs(v.astype(np.float64)).max()) for v in values.values() if v.size), default=1.0
    )
    epsilon = float(np.spacing(np.ones((), result.dtype)))
    slack = op.bound.terms_ulp * terms * epsilon * max(1.0, largest) ** 2
    allowed = (op.bound.ulp + 1.0) * unit + slack
    error = np.abs(wide[finite] - expected[finite])
    worst = float((error / np.maximum(allowed, 1e-300)).max(initial=0.0))
    assert worst <= 1.0, f"{worst:.3g} times the bound in {dtype.name}"


def run_or_skip(accepted: Accepted) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run on the reference, unless the instruction says that it cannot run there."""
    try:
        return run(accepted)
    except RefusedError as error:
        pytest.skip(f"does not run on its own: {error}")


def cases_of(op: Op) -> tuple[Case, ...]:
    """The cases of an instruction that must pass."""
    return op.type_rule.accepts


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def spread(array: Array) -> Array:
    """The same values with gaps between them, the last axis backwards in memory."""
    if array.ndim == 0:
        return array
    gaps = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::-2]
    gaps[...] = array
    return gaps


def write_gradient(op: Op, case: Case) -> VerifiedProgram | None:
    """Program of the gradients of the weighted sum of results; None if nothing is a float."""
    builder, operands, results, weights = open_weighted(op, case)
    wanted = [(index, each) for index, each in enumerate(operands) if each and each.dtype.is_float]
    loss = add_up(results, weights)
    if loss is None or not wanted:
        return None
    found = gradients(loss, [each for _, each in wanted])
    named = zip(wanted, found, strict=True)
    return builder.finish(**{str(index): gradient for (index, _), gradient in named})


def open_weighted(
    op: Op, case: Case
) -> tuple[Builder, list[Symbol | None], tuple[Symbol, ...], dict[int, Symbol]]:
    """Write a call with an input `w0`, `w1`, ... beside every float result."""
    builder, operands = open_program(case)
    results = build(op, case).results
    weights = {
        index: builder.input(f"w{index}", type_)
        for index, type_ in enumerate(results)
        if type_.dtype.is_float
    }
    return builder, operands, builder.emit(op.name, operands, case.attributes), weights


def add_up(results: tuple[Symbol, ...], weights: Mapping[int, Symbol]) -> Symbol | None:
    """The sum of all float results in the first one's element type, weighted."""
    loss: Symbol | None = None
    for index, weight in weights.items():
        part = (results[index] * weight).sum()
        loss = part if loss is None else loss + part.cast(loss.dtype)
    return loss


def weights_of(accepted: Accepted) -> dict[str, Array]:
    """A weight for every element of every float result."""
    random = np.random.default_rng(7)
    return {
        f"w{index}": random.uniform(-1, 1, type_.shape).astype(type_.dtype.numpy)
        for index, type_ in enumerate(accepted.results)
        if type_.dtype.is_float
    }


def directions(name: str, value: Array) -> list[Array]:
    """Two random directions in which to move an operand."""
    random = np.random.default_rng(11 + int(name))
    return [random.uniform(-1, 1, value.shape) for _ in range(2)] if value.size else []


def slope(
    accepted: Accepted,
    values: Mapping[str, Array],
    weights: Mapping[str, Array],
    name: str,
    direction: Array,
) -> float:
    """Central difference of the weighted sum along a direction."""
    step = 1e-6
    sums: list[float] = []
    for sign in (1.0, -1.0):
        moved = dict(values)
        moved[name] = np.asarray(values[name] + sign * step * direction)
        results: dict[str, Any] = REFERENCE.run(accepted.program, moved)
        sums.append(
            sum(
                float((results[w.removeprefix("w")] * weight).sum())
                for w, weight in weights.items()
            )
        )
    return (sums[0] - sums[1]) / (2 * step)


def golden_file(version: int) -> Path:
    """Where the table of one version is kept."""
    return GOLDEN / f"isa_{version}.txt"


def golden(version: int) -> str:
    """The instruction table of one version, as its golden file has it."""
    isa = VERSIONS[version]
    rows = [f"{opcode:04x} {op.name}" for opcode, op in sorted(isa.by_opcode.items())]
    return "\n".join([*rows, f"fingerprint {isa.fingerprint}", ""])


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    golden_file(LATEST.version).write_text(golden(LATEST.version))
