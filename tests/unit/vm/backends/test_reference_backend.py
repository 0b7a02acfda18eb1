"""The reference backend keeps the contract of `compiler/backend.py`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Backend, PythonCode
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

BACKEND: Backend = ReferenceBackend()


def doubling(outputs: str = "y: float32[2]", results: int = 1) -> VerifiedProgram:
    builder = Builder()
    x = builder.input("x", "float32[2]")
    attributes = {"code": "y = inputs[0] * 2", "outputs": outputs, "sandbox": "standard"}
    found = builder.emit("PythonExecute", (x,), attributes)
    assert len(found) == results
    return builder.finish(**{f"y{index}": each for index, each in enumerate(found)})


def run(program: VerifiedProgram, answer: Mapping[str, Array]) -> dict[str, Array]:
    asked: list[PythonCode] = []

    def runner(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        asked.append(code)
        assert [each.tolist() for each in inputs] == [[1, 2]]
        return answer

    found = BACKEND.compile(program, python=runner).run({"x": np.array([1, 2], np.float32)})
    assert asked[0].sandbox == "standard"
    return found


def test_traced_and_plain_runs_give_the_same() -> None:
    builder = Builder()
    x = builder.input("x", "float32[3]")
    executable = BACKEND.compile(builder.finish(y=(x * 2).emit("Softmax", axis=0), x=x))
    values = {"x": np.array([1, 2, 3], np.float32)}
    seen: list[int] = []
    traced = executable.run_traced(values, lambda position, results: seen.append(position))
    plain = executable.run(values)
    assert seen == [0, 1, 2]
    assert {name: each.tobytes() for name, each in plain.items()} == {
        name: each.tobytes() for name, each in traced.items()
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"input 'x' \(float32\[2\]\) is missing"),
        ({"x": np.zeros(3, np.float32)}, r"found float32\[3\], expected float32\[2\]"),
        ({"x": [[1], [2, 3]]}, r"input 'x' \(float32\[2\]\): .*inhomogeneous"),
        ({"x": np.zeros(2, np.uint32)}, r"input 'x' \(float32\[2\]\): no element type"),
        ({"x": np.zeros(2)}, r"found float64\[2\], expected float32\[2\]"),
        ({"x": np.zeros(2, np.float32), "z": np.zeros(1)}, "no input 'z'; the program has x"),
    ],
)
def test_wrong_inputs_are_refused(values: dict[str, Array], message: str) -> None:
    builder = Builder()
    program = builder.finish(y=builder.input("x", "float32[2]") + 1)
    with pytest.raises(InputError, match=message):
        BACKEND.compile(program).run(values)


def test_zero_and_minus_zero_have_lowerings_of_their_own() -> None:
    builder = Builder()
    x = builder.input("x", "float32[1]")
    mask = x.equal(x)
    plus, minus = (x.emit("MaskedFill", mask, value=value) for value in (0.0, -0.0))
    found = BACKEND.compile(builder.finish(plus=plus, minus=minus)).run(
        {"x": np.ones(1, np.float32)}
    )
    assert np.signbit(found["minus"]).all()
    assert not np.signbit(found["plus"]).any()


def test_python_code_is_run_by_the_runner() -> None:
    answer = {"y": np.array([2, 4], np.float32), "more": np.zeros(1)}
    assert run(doubling(), answer)["y0"].tolist() == [2, 4]
    assert run(doubling(""), {})["y0"].tolist() is True


def test_what_comes_back_is_held_against_the_declaration() -> None:
    with pytest.raises(InputError, match=r"left no 'y' \(float32\[2\]\); it left 'z'"):
        run(doubling(), {"z": np.zeros(2)})
    with pytest.raises(InputError, match=r"left 'y' as float64\[2\], expected float32\[2\]"):
        run(doubling(), {"y": np.zeros(2)})
    odd = np.array([np.nan, 1], np.float32)
    odd.view(np.uint32)[0] = 0xFFC12345
    assert run(doubling(), {"y": odd})["y0"].view(np.uint32)[0] == 0x7FC00000


def test_without_a_runner_python_is_refused() -> None:
    executable = BACKEND.compile(doubling())
    with pytest.raises(RefusedError, match="nothing here runs Python code"):
        executable.run({"x": np.zeros(2, np.float32)})
