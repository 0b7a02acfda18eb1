"""Executables: binding, errors, Python code, threads; whatever the plan is."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.unit.vm.compiler.training_steps import MODELS, first_values, write_step

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.native.backend import NativeBackend, what_is_missing
from bcai.vm.backends.native.executable import BLOCKS, NativeExecutable, open_machine
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.prepare import Machine
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler import plan_program
from bcai.vm.compiler.backend import PythonCode, PythonRunner
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import LoopTask, OpTask, Plan
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import VerifiedProgram

from .plain_plan import plain_plan

THREADS_SPARE_BYTES = 512 * 1024

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())


def by_definition(task: LoopTask | OpTask, scope: Scope) -> list[Launch] | None:
    del task, scope


def plain_machine(threads: int = 2) -> Machine:
    """Everything by the definition, one task an instruction."""
    machine = open_machine(None, threads, time.perf_counter)
    parts = (machine.target, threads, machine.objects, machine.blocks, machine.clock)
    return Machine(*parts, plain_plan, by_definition)


@pytest.fixture(params=["plain", "native"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "plain":
        return plain_machine()
    return open_machine(tmp_path, 2, time.perf_counter)


def bits(outputs: Mapping[str, Array]) -> dict[str, object]:
    return {name: (each.dtype, each.shape, each.tobytes()) for name, each in outputs.items()}


def same_as_reference(
    program: VerifiedProgram, values: Mapping[str, Array], machine: Machine
) -> dict[str, Array]:
    expected = ReferenceBackend().compile(program).run(values)
    executable = NativeExecutable(program, machine)
    for _ in range(3):
        assert bits(executable.run(values)) == bits(expected)
    return expected


def ignore(position: int, results: tuple[Array, ...]) -> None:
    del position, results


def same_refusal(program: VerifiedProgram, values: Mapping[str, Array], machine: Machine) -> str:
    with pytest.raises(InputError) as expected:
        ReferenceBackend().compile(program).run(values)
    executable = NativeExecutable(program, machine)

    def traced(given: Mapping[str, Array]) -> dict[str, Array]:
        return executable.run_traced(given, ignore)

    for run in (executable.run, traced):
        with pytest.raises(InputError) as found:
            run(values)
        assert str(found.value) == str(expected.value)
        assert type(found.value) is type(expected.value)
    return str(expected.value)


def test_inputs_lie_anywhere_in_memory(machine: Machine) -> None:
    builder = Builder()
    x, mask = builder.input("x", "float32[4,6]"), builder.input("mask", "bool[4,6]")
    program = builder.finish(y=mask.emit("Where", x * 2, x), z=x.permute(1, 0), x=x, mask=mask)
    wide = np.arange(96, dtype=np.float32).reshape(8, 12)
    odd = np.frombuffer(b"x" + wide[:4, :6].tobytes(), np.float32, 24, 1).reshape(4, 6)
    truth = np.array([[0, 1, 2, 255, 1, 0]] * 4, np.uint8).view(np.bool_)
    for each in (wide[::2, ::2], wide[:4, 6:][:, ::-1], wide.T[:4, :6], odd):
        same_as_reference(program, {"x": each, "mask": truth != 0}, machine)
        found = NativeExecutable(program, machine).run({"x": each, "mask": truth})
        assert found["mask"].tobytes() == bytes([0, 1, 1, 1, 1, 0]) * 4
        assert not np.shares_memory(found["x"], each)


def test_scalars_and_nothing_at_all(machine: Machine) -> None:
    builder = Builder()
    x, none = builder.input("x", "float32[]"), builder.input("none", "float32[0,3]")
    program = builder.finish(y=x + 1, none=none * 2, total=none.sum(), x=x)
    same_as_reference(
        program, {"x": np.asarray(np.float32(2)), "none": np.zeros((0, 3), np.float32)}, machine
    )
    found = NativeExecutable(program, machine).run(
        {"x": np.float32(2), "none": np.zeros((0, 3), np.float32)}  # pyright: ignore
    )
    assert found["y"].tolist() == 3


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_not_a_number_leaves_with_one_pattern(machine: Machine, dtype: str) -> None:
    builder = Builder()
    x = builder.input("x", f"{dtype}[37]")
    program = builder.finish(y=-x, x=x, half=x * 0.5)
    size = np.dtype(program.types[0].dtype.numpy).itemsize
    patterns = np.arange(37 * size, dtype=np.uint8) | 0x7F
    values = {"x": np.full(37 * size, 0xFF, np.uint8).view(program.types[0].dtype.numpy)}
    assert len(set(same_as_reference(program, values, machine)["y"].tobytes())) <= size
    values = {"x": patterns.view(program.types[0].dtype.numpy)}
    same_as_reference(program, values, machine)


@pytest.mark.parametrize("elements", [-1, 10, 1 << 16])
def test_observers_see_what_the_reference_shows(
    machine: Machine, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether instructions are compiled, go by their definition, or some of each."""
    monkeypatch.setattr("bcai.vm.backends.native.traced.DEFINED_ELEMENTS_MAX", elements)
    builder = Builder()
    x = builder.input("x", "float32[2,3]")
    program = builder.finish(y=(x * 2).emit("Softmax", axis=1).permute(1, 0), z=x.emit("Log"))
    values = {"x": np.array([[1, -1, np.nan], [0, 2, 3]], np.float32)}
    values["x"].view(np.uint32)[0, 2] = 0xFFC12345
    shown: list[list[tuple[int, list[bytes]]]] = [[], []]
    executables = (ReferenceBackend().compile(program), NativeExecutable(program, machine))
    for executable, seen in zip(executables, shown, strict=True):
        found = executable.run_traced(
            values, lambda at, results, seen=seen: seen.append((at, [r.tobytes() for r in results]))
        )
        assert bits(found) == bits(executable.run(values))
    assert shown[0] == shown[1]
    assert [position for position, _ in shown[0]] == list(range(len(program.program.instructions)))


def test_an_instruction_is_compiled_once_its_definition_has_taken_as_long(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcai.vm.backends.native.traced.DEFINED_ELEMENTS_MAX", 64)
    builder = Builder()
    program = builder.finish(y=builder.input("x", "float32[32]").emit("Tanh"))
    executable, compiled = NativeExecutable(program, machine), 0
    part = executable.part

    def counted(alone: VerifiedProgram) -> NativeExecutable:
        nonlocal compiled
        compiled += 1
        return part(alone)

    monkeypatch.setattr(executable, "part", counted)
    values = {"x": np.linspace(-2, 2, 32, dtype=np.float32)}
    found = [(bits(executable.run_traced(values, ignore)), compiled) for _ in range(4)]
    assert [each for _, each in found] == [0, 0, 1, 1]
    assert all(each == bits(executable.run(values)) for each, _ in found)


def lookup(used: bool) -> VerifiedProgram:
    builder = Builder()
    table, index = builder.input("table", "float32[4,3]"), builder.input("index", "int64[2]")
    rows = (table * 2).emit("Embedding", index)
    return builder.finish(y=rows + 1 if used else table)


@pytest.mark.parametrize("used", [True, False])
def test_an_index_outside_is_told_as_the_definition_tells_it(machine: Machine, used: bool) -> None:
    values = {"table": np.ones((4, 3), np.float32), "index": np.array([1, 7])}
    told = same_refusal(lookup(used), values, machine)
    assert told.startswith("instruction 2 (Embedding): ")
    assert "index 7 is outside an axis of size 4" in told
    executable = NativeExecutable(lookup(used), machine)
    with pytest.raises(InputError):
        executable.run(values)
    values["index"] = np.array([1, -4])
    assert bits(executable.run(values)) == bits(
        ReferenceBackend().compile(lookup(used)).run(values)
    )


def test_unused_instructions_that_may_refuse_are_kept_once() -> None:
    used, unused = expand(lookup(used=True)), expand(lookup(used=False))
    assert keep_refusals(used) is used
    assert len(keep_refusals(unused).program.outputs) == 2
    step = expand(write_step(MODELS["transformer"]))  # an Embedding stands there twice
    assert keep_refusals(step) is step


@pytest.mark.parametrize("name", ["Div", "Mod"])
def test_a_divisor_of_zero_is_told_as_the_definition_tells_it(machine: Machine, name: str) -> None:
    builder = Builder()
    x, y = builder.input("x", "int32[3]"), builder.input("y", "int32[3]")
    program = builder.finish(y=(x + y).emit(name, y))
    values = {"x": np.array([1, 2, 3], np.int32), "y": np.array([1, 0, 3], np.int32)}
    assert same_refusal(program, values, machine).startswith(f"instruction 1 ({name}): ")
    same_as_reference(program, {**values, "y": values["x"]}, machine)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"x": np.zeros(3, np.float32)},
        {"x": np.zeros(2)},
        {"x": [0.0, 0.0]},
        {"x": np.zeros(2, np.float32), "z": np.zeros(1)},
    ],
)
def test_wrong_inputs_are_refused(machine: Machine, values: dict[str, Array]) -> None:
    builder = Builder()
    same_refusal(builder.finish(y=builder.input("x", "float32[2]") + 1), values, machine)


def coded(code: str = "y = inputs[0] * 2") -> VerifiedProgram:
    builder = Builder()
    x, index = builder.input("x", "float32[2]"), builder.input("index", "int64[1]")
    attributes = {"code": code, "outputs": "y: float32[2]", "sandbox": "standard"}
    doubled = builder.emit("PythonExecute", (x + 1,), attributes)[0]
    return builder.finish(y=doubled.emit("Gather", index, axis=0))


def test_python_code_runs_once_and_its_answer_is_checked(machine: Machine) -> None:
    asked: list[list[float]] = []
    answer: dict[str, Array] = {"y": np.array([2, 4], np.float32)}

    def runner(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
        assert code.code == "y = inputs[0] * 2"
        asked.append(inputs[0].tolist())
        return answer

    def run(python: PythonRunner | None, index: int) -> dict[str, Array]:
        values = {"x": np.array([1, 2], np.float32), "index": np.array([index])}
        return NativeExecutable(coded(), machine, python).run(values)

    assert run(runner, 1)["y"].tolist() == [4]
    assert asked == [[2, 3]]
    with pytest.raises(InputError, match=r"^instruction \d+ \(Gather\): .*index 2 is outside"):
        run(runner, 2)
    assert asked == [[2, 3]] * 2
    answer.clear()
    with pytest.raises(InputError, match=r"^instruction \d+ \(PythonExecute\): the code left no"):
        run(runner, 1)
    with pytest.raises(RefusedError, match="nothing here runs Python code"):
        run(None, 1)


def test_several_python_threads_run_one_executable(machine: Machine) -> None:
    program = write_step(MODELS["mlp"])
    executable = NativeExecutable(program, machine)
    given = [first_values(MODELS["mlp"], seed) for seed in range(4)]
    expected = [bits(executable.run(values)) for values in given]
    wrong: list[int] = []

    def run(seed: int) -> None:
        wrong.extend(seed for _ in range(5) if bits(executable.run(given[seed])) != expected[seed])

    runs = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert wrong == []
    assert len(set(map(str, expected))) == 4


def test_outputs_outlive_later_runs_and_their_memory_is_used_again(machine: Machine) -> None:
    builder = Builder()
    x = builder.input("x", "float32[65536]")
    executable = NativeExecutable(builder.finish(y=x + 1, z=x * 2), machine)
    x0 = np.arange(65536, dtype=np.float32)
    first = executable.run({"x": x0})
    second = executable.run({"x": first["y"]})
    assert (first["y"] == x0 + 1).all()
    assert (second["y"] == x0 + 2).all()
    del first, second
    free = BLOCKS.bytes_free
    held = executable.run({"x": x0})
    assert BLOCKS.bytes_free == free - sum(each.nbytes for each in held.values())


def test_memory_is_known_before_the_run(tmp_path: Path) -> None:
    program = write_step(MODELS["mlp"])
    peak = NativeBackend(threads=1, cache=tmp_path).compile(program).bytes_peak
    assert peak > sum(each.nbytes for each in program.output_types.values())
    assert NativeBackend(1, peak, tmp_path).compile(program).bytes_peak == peak
    with pytest.raises(RefusedError, match="KiB at its peak, the limit is"):
        NativeBackend(1, peak - 1, tmp_path).compile(program)


WHOLE_RUN = """
import re, sys
from pathlib import Path
from bcai.vm.backends.native.backend import NativeBackend
from tests.unit.vm.compiler.training_steps import MODELS, first_values, write_step
model, threads = MODELS[sys.argv[1]], int(sys.argv[2])
backend = NativeBackend(threads=threads, cache=Path(sys.argv[3]))
program = write_step(model)
executable, values = backend.compile(program), first_values(model)
inputs = sum(each.nbytes for each in values.values())
names = [port.name for port in program.program.ports]
def resident():
    return int(re.search("Rss: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1]) * 1024
before = resident()
for _ in range(3):
    values = {name: {**values, **executable.run(values)}[name] for name in names}
print(executable.bytes_peak, resident() - before + inputs)
"""


@pytest.mark.parametrize(("name", "threads"), [("transformer", 1), ("mlp", 2)])
def test_a_run_takes_no_more_than_was_said(tmp_path: Path, name: str, threads: int) -> None:
    command = [sys.executable, "-c", WHOLE_RUN, name, str(threads), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    said, taken = map(int, found.stdout.split())
    assert taken <= said <= taken + THREADS_SPARE_BYTES * threads


def test_outputs_that_are_copies_count(tmp_path: Path) -> None:
    backend = NativeBackend(threads=1, cache=tmp_path)
    table = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)

    def peak(copied: bool) -> int:
        builder = Builder()
        x, held = builder.input("x", "float32[1024,1024]"), builder.constant(table)
        y = x.emit("Reshape", shape=(1 << 20,)) if copied else x.emit("Neg")
        return backend.compile(builder.finish(y=y, z=x + held)).bytes_peak

    inputs, constants, outputs = 1, 1, 2
    least = (inputs + constants + outputs) * table.nbytes
    assert least <= peak(copied=False) < 1.1 * least
    assert peak(copied=True) >= least + table.nbytes


def test_an_executable_describes_itself(machine: Machine) -> None:
    told = NativeExecutable(lookup(used=True), machine).describe()
    assert "3 instructions as" not in told.splitlines()[1]
    for word in ("instructions as", "launches", "2 threads", "by definition:", "at the peak"):
        assert word in told


def test_what_was_compiled_is_ready_again_without_a_plan(tmp_path: Path) -> None:
    model = MODELS["transformer"]
    program, values = write_step(model), first_values(model)
    cold = NativeBackend(threads=2, cache=tmp_path).compile(program)
    expected = bits(cold.run(values))
    told = cold.describe().splitlines()[:-1]
    del cold
    gc.collect()

    def no_plan(verified: VerifiedProgram, **options: object) -> Plan:
        raise AssertionError(f"{verified} is planned again, {options}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_program, "make_plan", no_plan)
        warm = NativeBackend(threads=2, cache=tmp_path).compile(program)
        assert bits(warm.run(values)) == expected
        assert warm.describe().splitlines()[:-1] == told
        with pytest.raises(AssertionError, match="planned again"):
            NativeBackend(threads=1, cache=tmp_path).compile(program)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    again = NativeBackend(threads=2, cache=tmp_path).compile(program)
    assert bits(again.run(values)) == expected


NEW_PROCESS = """
import sys
from pathlib import Path
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.program.codec import decode_program
from bcai.vm.program.verifier import verify
program = verify(decode_program(Path(sys.argv[1]).read_bytes()))
NativeBackend(threads=1, cache=Path(sys.argv[2])).compile(program)
writers = ("native.kernels", "native.loops", "native.elementwise", "compiler.plan_program")
print([name for name in sys.modules if name.endswith(writers)])
"""


def test_a_process_that_finds_its_code_imports_nothing_that_writes_code(tmp_path: Path) -> None:
    build = Builder()
    program = build.finish(y=build.input("x", "float32[8]").emit("Exp"))
    (tmp_path / "exp.bcai").write_bytes(encode_program(program.program))

    def imported() -> str:
        command = [sys.executable, "-c", NEW_PROCESS, str(tmp_path / "exp.bcai")]
        found = subprocess.run(
            [*command, str(tmp_path / "cache")], capture_output=True, text=True, check=True
        )
        return found.stdout.strip()

    assert "native.kernels" in imported()
    assert imported() == "[]"


def test_code_is_kept_on_disk_and_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path,
) -> None:
    program = write_step(MODELS["mlp"])
    backend = NativeBackend(threads=1, cache=tmp_path / "code")
    expected = bits(backend.compile(program).run(first_values(MODELS["mlp"])))
    assert any((tmp_path / "code").iterdir())
    blocked = tmp_path / "file"
    blocked.write_text("")
    other = NativeBackend(threads=1, cache=blocked / "code").compile(program)
    assert bits(other.run(first_values(MODELS["mlp"]))) == expected
