"""Every backend of this machine gives every instruction's bits as the definition has them.

`pytest tests/conformance/vm/test_backends.py -k "native and MatMul"` runs one instruction on one.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.vm.instruction_cases import (
    OPS,
    REFERENCE,
    build,
    draws,
    of_degenerate_shapes,
    of_every_dtype,
)
from tests.unit.vm.compiler.training_steps import MODELS, first_values, write_step

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.backend import Backend
from bcai.vm.isa.op import Case, Op
from bcai.vm.isa.types import Array, DType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.runtime.choose_backend import local_backends

BACKENDS = [pytest.param(each, id=each.name) for each in local_backends(threads=2)]
CASES = [
    pytest.param(op, case, id=f"{op.name}-{index}")
    for op in OPS
    for index, case in enumerate(op.type_rule.accepts)
]
SPECIAL = (math.nan, -0.0, math.inf, -math.inf, 1e-40, -3e-39, 3e38, 0.0, 1e-45)
Values = Mapping[str, Array]


@pytest.fixture(scope="module", autouse=True)
def code_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The native backend keeps its code in a folder of this run."""
    folder: Path = tmp_path_factory.mktemp("native")
    for each in BACKENDS:
        backend = each.values[0]
        if isinstance(backend, NativeBackend):
            backend.cache = folder


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("op", "case"), CASES)
def test_calls_have_the_defined_bits(backend: Backend, op: Op, case: Case) -> None:
    calls, refusals = gather(op, case)
    if calls:
        program = join(op, [each for each, _ in calls])
        given = {
            f"{number}.{name}": array
            for number, (_, values) in enumerate(calls)
            for name, array in values.items()
        }
        expected = REFERENCE.run(program, given)
        executable = backend.compile(program)
        for _ in range(2):  # the second run finds the first one's leftovers in memory
            differing(executable.run(given), expected, calls)
        spread_out = {name: spread(array) for name, array in given.items()}
        differing(executable.run(spread_out), expected, calls)
    for each, values, message in refusals:
        with pytest.raises(InputError) as found:
            backend.compile(build(op, each).program).run(values)
        assert str(found.value) == message


def gather(op: Op, case: Case) -> tuple[list[tuple[Case, Values]], list[tuple[Case, Values, str]]]:
    """Calls of a case in every element type and shape, with values; and one that is refused."""
    calls: list[tuple[Case, Values]] = []
    refusals: list[tuple[Case, Values, str]] = []
    variants = [*of_every_dtype(op, case), *of_degenerate_shapes(op, case)]
    for each in variants:
        program = build(op, each).program
        taken = False
        for values in draws(each):
            for drawn in (values, special(values)):
                try:
                    REFERENCE.run(program, drawn)
                except InputError as error:
                    refusals.append((each, drawn, str(error)))
                except RefusedError as error:
                    pytest.skip(f"does not run on its own: {error}")
                else:
                    calls.append((each, drawn))
                    taken = True
            if taken:
                break
    return calls, refusals[:1]


def join(op: Op, cases: list[Case]) -> VerifiedProgram:
    """One program of all calls: compiling many small ones would take most of the time."""
    builder = Builder()
    operands = [
        [
            None if type_ is None else builder.input(f"{number}.{index}", type_)
            for index, type_ in enumerate(case.operands)
        ]
        for number, case in enumerate(cases)
    ]
    outputs = {
        f"{number}.{index}": symbol
        for number, case in enumerate(cases)
        for index, symbol in enumerate(builder.emit(op.name, operands[number], case.attributes))
    }
    return builder.finish(**outputs)


def special(values: Values) -> dict[str, Array]:
    """The same values, with every third float one that is treated specially."""
    found: dict[str, Array] = {}
    for name, array in values.items():
        found[name] = array
        if DType.of(array.dtype).is_float and array.size:
            flat = array.copy().reshape(-1)
            places = np.arange(0, array.size, 3)
            with np.errstate(over="ignore"):
                numbers = np.array(SPECIAL).astype(array.dtype)
            flat[places] = numbers[(places // 3 + 2 * int(name)) % len(SPECIAL)]
            found[name] = flat.reshape(array.shape)
    return found


def spread(array: Array) -> Array:
    """The same values with gaps between them, the first axis backwards in memory."""
    if array.ndim == 0:
        return array
    gaps = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)[::-2]
    gaps[...] = array
    return gaps


def differing(found: Values, expected: Values, calls: list[tuple[Case, Values]]) -> None:
    """Fail with the call whose result has other bits, and where."""
    assert list(found) == list(expected)
    for name, right in expected.items():
        mine = found[name]
        assert (mine.dtype, mine.shape) == (right.dtype, right.shape), name
        if mine.tobytes() != right.tobytes():
            case, _ = calls[int(name.partition(".")[0])]
            wrong = [
                place
                for place in np.ndindex(right.shape)
                if mine[place].tobytes() != right[place].tobytes()
            ]
            first = wrong[0]
            pytest.fail(
                f"{case}: output {name} differs in {len(wrong)} of {right.size} elements, "
                f"first at {first}: {mine[first]!r}, expected {right[first]!r}"
            )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_training_steps_have_the_defined_bits(backend: Backend, name: str, dtype: str) -> None:
    program, values = write_step(MODELS[name]), first_values(MODELS[name])
    if dtype == "float32":
        program, values = narrowed(program), {key: narrow(each) for key, each in values.items()}
    executables = [backend.compile(program)]
    if isinstance(backend, NativeBackend):
        alone = NativeBackend(threads=1, cache=backend.cache)
        executables.append(alone.compile(program))
    for _ in range(2):
        expected = REFERENCE.run(program, values)
        for each in executables:
            assert differing_names(each.run(values), expected) == []
        values = {key: expected.get(key, each) for key, each in values.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_traced_runs_show_the_defined_bits(
    backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small instructions go by their definition: here none does, else it were held against itself.
    monkeypatch.setattr("bcai.vm.backends.native.traced.DEFINED_ELEMENTS_MAX", -1)
    program, values = write_step(MODELS[name]), first_values(MODELS[name])
    expected: list[list[bytes]] = []
    seen: list[list[bytes]] = []
    REFERENCE.run(program, values, lambda _, results: expected.append([*map(bytes_of, results)]))
    executable = backend.compile(program)
    outputs = executable.run_traced(
        values, lambda _, results: seen.append([*map(bytes_of, results)])
    )
    assert differing_names(outputs, executable.run(values)) == []
    assert seen == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_share_no_memory_with_inputs_or_each_other(backend: Backend) -> None:
    builder = Builder()
    x = builder.input("x", "float32[4,6]")
    program = builder.finish(same=x, again=x, flat=x.reshape(24), turned=x.transpose())
    given = {"x": np.ones((4, 6), np.float32)}
    executable = backend.compile(program)
    for found in (executable.run(given), executable.run_traced(given, lambda _, results: None)):
        arrays = [*given.values(), *found.values()]
        for number, array in enumerate(arrays):
            assert not any(np.shares_memory(array, each) for each in arrays[:number])
        assert all(each.flags.writeable for each in found.values())


def differing_names(found: Values, expected: Values) -> list[str]:
    """Names of the outputs whose bits differ."""
    assert list(found) == list(expected)
    return [name for name in expected if found[name].tobytes() != expected[name].tobytes()]


def bytes_of(array: Array) -> bytes:
    """The bits of an array."""
    return array.tobytes()


def narrow(array: Array) -> Array:
    """float64 as float32."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def narrowed(program: VerifiedProgram) -> VerifiedProgram:
    """The same instructions on float32."""
    plain = program.program
    builder = Builder()
    symbols = [
        builder.input(port.name, port.type.with_dtype(_narrow_type(port.type.dtype)))
        for port in plain.ports
    ]
    for each in plain.instructions:
        operands = [None if at is None else symbols[at] for at in each.operands]
        attributes = {
            key: _narrow_type(value) if isinstance(value, DType) else value
            for key, value in each.attributes.items()
        }
        symbols += builder.emit(each.op.name, operands, attributes)
    return builder.finish(**{name: symbols[at] for name, at in plain.outputs})


def _narrow_type(dtype: DType) -> DType:
    return DType.float32 if dtype is DType.float64 else dtype


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("float32", 0.1, np.float32(0.1)),
        ("float32", 1, np.float32(1)),
        ("float32", (1 << 54) + (1 << 30) + 1, np.float32(2**54 + 2**31)),  # rounded once
        ("float32", math.inf, np.float32(math.inf)),
        ("float64", 10**300, np.float64(1e300)),
        ("float16", 65519.0, np.float16(65504)),
        ("bfloat16", 3.0, DType.bfloat16.numpy.type(3)),
        ("int64", -(1 << 63), np.int64(-(1 << 63))),
        ("int32", 7, np.int32(7)),
    ],
)
def test_a_number_takes_the_declared_type(
    backend: Backend, dtype: str, number: float, expected: Array
) -> None:
    builder = Builder()
    program = builder.finish(y=builder.input("x", f"{dtype}[]").reshape(1))
    given: Any = {"x": number}
    found = backend.compile(program).run(given)["y"]
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("type_", "number", "message"),
    [
        ("float32[]", 1e300, "found the number 1e+300, expected one in the range of float32"),
        (
            "float32[]",
            -(1 << 1100),
            "found the number of 1101 bits, expected one in the range of float32",
        ),
        ("float16[]", 65520.0, "found the number 65520.0, expected one in the range of float16"),
        ("int32[]", 1 << 31, "found the number 2147483648, expected one in the range of int32"),
        ("int64[]", 0.5, "found the number 0.5, expected int64[]"),
        ("float32[1]", 0.5, "found the number 0.5, expected float32[1]"),
        ("float32[]", np.float64(0.5), "found float64[], expected float32[]"),
    ],
)
def test_a_number_that_the_type_has_not_is_refused(
    backend: Backend, type_: str, number: float, message: str
) -> None:
    builder = Builder()
    executable = backend.compile(builder.finish(y=builder.input("x", type_) + 1))
    given: Any = {"x": number}
    with pytest.raises(InputError) as found:
        executable.run(given)
    assert str(found.value).startswith("input 'x'")
    assert str(found.value).endswith(message)
