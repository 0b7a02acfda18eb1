"""The machine: the reference documents' examples, what it keeps, and what it refuses."""

from typing import Any

import numpy as np
import pytest
from tests.unit.vm.program.random_programs import run_nothing

from bcai.base.errors import (
    InputError,
    NotFoundError,
    RefusedError,
    ResourceError,
    VerifyError,
)
from bcai.vm import DataType, EnhancedVM, MLInstruction, SecurityLevel, TensorId
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Program, VerifiedProgram
from bcai.vm.runtime import enhanced_vm
from bcai.vm.runtime.enhanced_vm import EXECUTABLES_MAX
from bcai.vm.stack.bytecode import StackInstruction, StackOp, encode
from bcai.vm.stack.machine import StackUnderflowError


def vm(**inputs: object) -> EnhancedVM:
    machine = EnhancedVM()
    for name, value in inputs.items():
        machine.set_tensor(int(name[1:]), np.asarray(value, np.float32))
    return machine


def any_(value: Any) -> Any:
    """What the types forbid."""
    return value


def test_the_architecture_documents_example() -> None:
    machine = EnhancedVM()
    machine.start_execution("job_1", "node_1")
    instructions = [
        MLInstruction.TensorCreate(shape=[32, 784], dtype=DataType.Float32, id=TensorId(1)),
        MLInstruction.Linear(
            in_features=784,
            out_features=128,
            weight_id=TensorId(2),
            input_id=TensorId(1),
            output_id=TensorId(3),
            bias_id=TensorId(4),
        ),
    ]
    result = machine.execute_program(instructions)
    weight, bias = machine.tensor(2), machine.tensor(4)
    assert weight.shape == (128, 784)
    assert np.abs(weight).max() <= 1 / 28
    assert np.abs(weight).mean() == pytest.approx(1 / 56, rel=0.02)
    np.testing.assert_array_equal(result.outputs[TensorId(3)], np.tile(bias, (32, 1)))
    told = str(result)
    assert "2 instructions of job_1 on node_1" in told
    assert f"backend {machine.choice.backend.name} ({machine.choice.reason})" in told
    assert "TensorId(2) initialised: float32[128,784] uniform in +-1/sqrt(784)" in told
    assert "TensorId(3): float32[32,128]" in told
    assert result.program_root.hex() in told


def test_first_values_depend_on_the_seed_and_the_id_alone() -> None:
    def weight(seed: int, identity: int) -> Array:
        machine = EnhancedVM(seed=seed)
        machine.set_tensor(1, np.zeros((1, 8), np.float32))
        linear = MLInstruction.Linear(
            in_features=8, out_features=4, x=1, weight=identity, output=90
        )
        machine.execute_program([linear])
        return machine.tensor(identity)

    assert (weight(0, 5) == weight(0, 5)).all()
    assert (weight(0, 5) != weight(0, 6)).any()
    assert (weight(0, 5) != weight(1, 5)).any()


def test_every_name_of_the_documents() -> None:
    instructions = [
        MLInstruction.TensorMatMul(a=1, b=2, output=3),
        MLInstruction.TensorOp(op="MatMul", inputs=[TensorId(1), 2], output=4),
        MLInstruction.TensorOp(op=MLInstruction.Sum, inputs=[1], output=9, axes=[0]),
        MLInstruction.ConvolutionForward(input=5, kernel=6, output=7, padding=1),
        MLInstruction.TransformerAttention(query=1, key=2, value=1, output=8, causal=True),
        MLInstruction.Attention(
            embed_dim=2, num_heads=2, query_id=1, key_id=2, value_id=1, output_id=10
        ),
        MLInstruction.AdamStep(param_id=1, grad_id=2, moment1_id=11, moment2_id=12, lr=0.001),
        MLInstruction.PythonExecute(
            code="model.train(); loss.backward()", sandbox=SecurityLevel.High, gpu_enabled=False
        ),
    ]
    machine = EnhancedVM(python=run_nothing)
    for number, value in {
        1: [[1, 2], [3, 4]], 2: [[0, 1], [1, 0]], 5: np.ones((1, 1, 4, 4)),
        6: np.ones((2, 1, 3, 3)),
    }.items():  # fmt: skip
        machine.set_tensor(number, np.asarray(value, np.float32))
    found = machine.execute_program(instructions).outputs
    assert found[TensorId(3)].tolist() == [[2, 1], [4, 3]]
    assert (found[TensorId(4)] == found[TensorId(3)]).all()
    assert found[TensorId(9)].tolist() == [4, 6]
    assert found[TensorId(7)].shape == (1, 2, 4, 4)
    assert found[TensorId(7)][0, 0, 0].tolist() == [4, 6, 6, 4]
    assert found[TensorId(8)][0].tolist() == [1, 2]
    assert found[TensorId(10)].shape == (2, 2)
    np.testing.assert_allclose(found[TensorId(1)], [[1, 1.999], [2.999, 4]], rtol=1e-6)


def test_heads_side_by_side_are_the_heads_apart() -> None:
    random = np.random.default_rng(0)
    q, k, v = random.standard_normal((3, 2, 5, 8), np.float32)
    joined = EnhancedVM().execute_program(
        [MLInstruction.Attention(q=1, k=2, v=3, output=4, embed_dim=8, num_heads=2)],
        inputs={1: q, 2: k, 3: v},
    )
    apart = [each.reshape(2, 5, 2, 4).swapaxes(1, 2) for each in (q, k, v)]
    plain = EnhancedVM().execute_program(
        [MLInstruction.Attention(q=1, k=2, v=3, output=4)],
        inputs=dict(enumerate(apart, start=1)),
    )
    expected = plain.outputs[TensorId(4)].swapaxes(1, 2).reshape(2, 5, 8)
    np.testing.assert_array_equal(joined.outputs[TensorId(4)], expected)


def test_an_update_rebinds_its_ids_and_its_state_lasts() -> None:
    step = MLInstruction.AdamStep(
        param_id=1, grad_id=2, moment1_id=3, moment2_id=4, lr=0.1, weight_decay=0.5
    )
    once = EnhancedVM()
    once.set_tensor(1, [1.0, -2.0])
    gradient = {2: [0.5, 0.25]}
    for _ in range(3):
        once.execute_program([step], inputs=gradient)
    thrice = EnhancedVM()
    thrice.set_tensor(1, [1.0, -2.0])
    thrice.execute_program([step] * 3, inputs=gradient)
    for identity in (1, 3, 4):
        np.testing.assert_array_equal(once.tensor(identity), thrice.tensor(identity))
    p, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    g = np.array([0.5, 0.25])
    for t in (1, 2, 3):
        p = p - 0.1 * 0.5 * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(once.tensor(1), p, rtol=1e-5)


def test_momentum_starts_at_nothing() -> None:
    machine = vm(t1=[1.0], t2=[1.0])
    sgd = MLInstruction.SgdStep(p=1, g=2, m=3, lr=0.5, momentum=0.9)
    machine.execute_program([sgd, sgd])
    assert machine.tensor(1).tolist() == pytest.approx([1 - 0.5 - 0.5 * 1.9])


def test_inputs_are_for_one_run_and_kept_tensors_for_all() -> None:
    machine = vm(t1=[1.0])
    add = MLInstruction.Add(a=1, b=2, output=1)
    assert machine.execute_program([add], inputs={2: [10.0]}).outputs[TensorId(1)] == 11
    assert machine.execute_program([add], inputs={2: [10.0]}).outputs[TensorId(1)] == 21
    assert machine.tensors == [1]
    with pytest.raises(NotFoundError, match=r"TensorId\(2\) has no value; there are TensorId\(1\)"):
        machine.tensor(2)
    machine.start_execution("next", "node")
    assert machine.tensors == []


def test_chosen_outputs_and_kept_state_come_out() -> None:
    machine = vm(t1=[1.0])
    instructions = [
        MLInstruction.Add(a=1, b=1.0, output=1),
        MLInstruction.Add(a=1, b=1.0, output=2),
        MLInstruction.Add(a=2, b=1.0, output=3),
    ]
    result = machine.execute_program(instructions, outputs=[3])
    assert sorted(result.outputs) == [1, 3]
    assert machine.tensor(1) == 2


def test_a_freed_tensor_is_gone() -> None:
    machine = vm(t1=[1.0])
    create = MLInstruction.TensorCreate(shape=[1], id=2)
    machine.execute_program([create, MLInstruction.Free(id=2), MLInstruction.Free(id=1)])
    assert machine.tensors == []
    with pytest.raises(VerifyError, match=r"2 \(Relu\): TensorId\(2\) was freed by instruction 1"):
        machine.execute_program(
            [create, MLInstruction.Free(id=2), MLInstruction.Relu(x=2, output=3)]
        )
    machine.execute_program([create, MLInstruction.Free(id=2), create])
    assert machine.tensors == [2]


def test_load_checks_what_comes_from_outside() -> None:
    machine = vm(t1=[1.0, 2.0])
    load = MLInstruction.Load(id=1, shape=[2], dtype="float32")
    machine.execute_program([load, MLInstruction.Copy(x=1, output=2)])
    with pytest.raises(VerifyError, match=r"TensorId\(1\) is float32\[2\], expected int64"):
        machine.execute_program([MLInstruction.Load(id=1, dtype=DataType.Int64)])


def test_results_cannot_be_changed_behind_the_machine() -> None:
    result = vm(t1=[1.0]).execute_program([MLInstruction.Neg(x=1, output=2)])
    with pytest.raises(ValueError, match="read-only"):
        result.outputs[TensorId(2)][0] = 7


def test_what_the_machine_takes_is_its_own() -> None:
    mine = np.ones(1, np.float32)
    machine = EnhancedVM()
    machine.set_tensor(1, mine)
    mine[0] = 7
    assert machine.tensor(1) == 1


MISTAKES = {
    "no value": (
        [MLInstruction.Relu(x=7, output=8)],
        "instruction 0 (Relu): TensorId(7) has no value; make it with an instruction before this",
    ),
    "types": (
        [MLInstruction.Relu(x=1, output=2), MLInstruction.MatMul(a=1, b=2, output=3)],
        "instruction 1 (MatMul): MatMul: ",
    ),
    "a wrong size": (
        [MLInstruction.Linear(x=1, weight=1, output=3, in_features=9)],
        "instruction 0 (Linear): weight is float32[2,3], in_features is 9",
    ),
    "data of another shape": (
        [MLInstruction.TensorCreate(shape=[2], id=2, data=[1.0])],
        "data has the shape (1,), expected (2,)",
    ),
    "data that is no array": (
        [MLInstruction.TensorCreate(shape=[1], id=2, data=["a"])],
        "instruction 0 (TensorCreate): data: not an array of numbers: ",
    ),
    "too few outputs": (
        [MLInstruction.Sort(x=1, axis=0, outputs=[2])], "found 1 outputs, it has 2 results",
    ),
    "heads": (
        [MLInstruction.Attention(q=1, k=1, v=1, output=2, num_heads=2)],
        "float32[2,3]: the last size does not split into 2 heads",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_names_the_instruction(what: str) -> None:
    instructions, message = MISTAKES[what]
    machine = EnhancedVM()
    machine.set_tensor(1, np.zeros((2, 3), np.float32))
    with pytest.raises(VerifyError) as caught:
        machine.execute_program(instructions)
    assert message in str(caught.value)


WRONG = {
    "max_memory_mb: found -1, expected a whole number from 1": lambda: EnhancedVM(max_memory_mb=-1),
    "max_memory_mb: found '8GB'": lambda: EnhancedVM(max_memory_mb=any_("8GB")),
    "threads: found 0": lambda: EnhancedVM(threads=0),
    "instruction 0: found 'Relu', expected such as MLInst": lambda: vm().execute_program(
        [any_("Relu")]
    ),
    "found a single one, expected a list": lambda: vm().execute_program(
        any_(MLInstruction.Relu(x=1, output=2))
    ),
    r"TensorId\('a'\): expected a whole number": lambda: vm().execute_program(
        [], inputs={any_("a"): 1.0}
    ),
    r"TensorId\(1.5\): expected a whole number": lambda: vm().set_tensor(any_(1.5), 1.0),
    r"TensorId\(True\): expected a whole number": lambda: TensorId(True),
    r"TensorId\(-1\): expected a whole number": lambda: vm().tensor(-1),
    "tensor 1: .* inhomogeneous": lambda: vm().set_tensor(1, any_([[1], [2, 3]])),
    "program: found str, expected a VerifiedProgram": lambda: vm().run(any_("x"), {}),
    "inputs: found list, expected a dict of values": lambda: vm().run(_times(2.0), any_([1.0])),
    "inputs: found NoneType, expected": lambda: vm().run(_times(2.0), any_(None)),
    "inputs: found ndarray, expected": lambda: vm().execute_program([], any_(np.ones(2))),
    "no input 1; the program has x": lambda: vm().run(_times(2.0), any_({1: 1.0, "y": 2.0})),
    "hardware_backend: no None, expected one of": lambda: EnhancedVM(hardware_backend=any_(None)),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_argument_is_named(message: str) -> None:
    with pytest.raises(InputError, match=message):
        WRONG[message]()


def test_an_index_out_of_range_names_the_instruction() -> None:
    machine = vm(t1=[1.0])
    machine.set_tensor(2, np.array([5]))
    with pytest.raises(InputError, match=r"instruction 0 \(Gather\)"):
        machine.execute_program([MLInstruction.Gather(x=1, indices=2, axis=0, output=3)])


def test_limits_and_switches_refuse_before_anything_runs() -> None:
    python = [MLInstruction.PythonExecute(code="x = 1", gpu_enabled=True)]
    with pytest.raises(RefusedError, match="nothing here runs Python"):
        EnhancedVM().execute_program(python)
    with pytest.raises(RefusedError, match="enable_python is off"):
        EnhancedVM(enable_python=False, python=run_nothing).execute_program(python)
    with pytest.raises(RefusedError, match="it asks for a GPU, and enable_gpu is off"):
        EnhancedVM(python=run_nothing).execute_program(python)
    EnhancedVM(python=run_nothing, enable_gpu=True).execute_program(python)
    big = [MLInstruction.TensorCreate(shape=[1 << 20], id=1)]
    with pytest.raises(VerifyError, match=r"needs 4\.0 MiB at its peak, the limit is 1\.0 MiB"):
        EnhancedVM(max_memory_mb=1).execute_program(big)


def test_without_a_limit_this_machine_is_the_limit() -> None:
    huge = [MLInstruction.TensorCreate(shape=[1 << 37], id=1)]
    with pytest.raises(VerifyError, match=r"needs 512\.0 GiB at its peak, the limit is"):
        EnhancedVM().execute_program(huge)
    builder = Builder()
    x = builder.input("x", "float32[1]")
    with pytest.raises(RefusedError, match=r"needs 512\.0 GiB at its peak, max_memory_mb allows"):
        EnhancedVM().run(builder.finish(y=x.expand(1 << 37)), {"x": np.ones(1, np.float32)})


def test_memory_that_is_allowed_but_not_there_is_told_with_the_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> object:
        raise MemoryError("no 8 bytes of memory to be had")

    builder = Builder()
    x = builder.input("x", "float32[1000]")
    machine = EnhancedVM(hardware_backend="reference")
    monkeypatch.setattr("bcai.vm.backends.reference.interpreter.ReferenceInterpreter.run", full)
    with pytest.raises(ResourceError, match=r"the program needs 7\.8 KiB: no 8 bytes"):
        machine.run(builder.finish(y=x + 1.0), {"x": np.ones(1000, np.float32)})


def test_tensors_unused_for_long_are_compressed_before_anything_is_refused() -> None:
    machine = EnhancedVM(max_memory_mb=4)
    whole = np.arange(400_000, dtype=np.float32)
    for identity in (1, 2, 3):
        machine.set_tensor(identity, whole + identity)
    assert 3.2e6 < machine.bytes_kept < 4 << 20
    found = machine.execute_program([MLInstruction.Neg(x=1, output=4)]).outputs[TensorId(4)]
    assert found.tobytes() == (-(whole + 1)).tobytes()
    assert [machine.tensor(each).tobytes() for each in (2, 3)] == [
        (whole + each).tobytes() for each in (2, 3)
    ]
    assert machine.tensors == [1, 2, 3, 4]
    assert machine.bytes_kept < 4 << 20


def test_a_program_that_does_not_fit_beside_what_is_kept_is_refused() -> None:
    machine = EnhancedVM(max_memory_mb=4, compress=False)
    machine.set_tensor(1, np.zeros(800_000, np.float32))
    with pytest.raises(
        RefusedError, match=r"tensor 2: 1\.5 MiB do not fit beside 3\.1 MiB of other"
    ):
        machine.set_tensor(2, np.zeros(400_000, np.float32))
    create = MLInstruction.TensorCreate(shape=[400_000], id=3)
    with pytest.raises(
        RefusedError, match=r"kept take 3\.1 MiB, max_memory_mb allows 4\.0 MiB"
    ) as no:
        machine.execute_program([create])
    assert "Free" in (no.value.hint or "")
    program = Builder()
    x = program.input("x", "float32[200000]")
    with pytest.raises(RefusedError, match="other tensors"):
        machine.run(program.finish(y=x + 1), {"x": np.zeros(200_000, np.float32)})
    machine.execute_program([MLInstruction.Free(id=1)])
    machine.execute_program([create])
    assert machine.tensors == [3]


def test_an_observer_sees_every_instruction() -> None:
    seen: list[tuple[int, float]] = []
    vm(t1=[1.0]).execute_program(
        [MLInstruction.Neg(x=1, output=2), MLInstruction.Neg(x=2, output=3)],
        observe=lambda position, results: seen.append((position, float(results[0][0]))),
    )
    assert seen == [(0, -1.0), (1, 1.0)]


def test_time_is_told_by_the_clock_that_was_given() -> None:
    ticks = iter([1.0, 3.5])
    result = EnhancedVM(clock=lambda: next(ticks)).execute_program(
        [MLInstruction.TensorCreate(shape=[], id=1)]
    )
    assert result.wall_s == 2.5
    assert "2.500 s" in str(result)
    assert EnhancedVM().execute_program([]).wall_s is None


def test_programs_run_by_name() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2]")
    result = EnhancedVM().run(builder.finish(y=x + 1), {"x": np.zeros(2, np.float32)})
    assert result.outputs["y"].tolist() == [1, 1]
    assert "'y': float32[2]" in str(result)


def test_a_program_that_runs_again_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = _hashed_from_now_on(monkeypatch)
    machine = EnhancedVM(hardware_backend="reference")
    programs = [_times(float(factor)) for factor in range(EXECUTABLES_MAX)]
    for program in 2 * programs:
        assert _run(machine, program) == program_root(program.program)
    assert hashed == [program.program for program in programs]
    _run(machine, _times(0.0))  # equal, and another object
    assert len(hashed) == EXECUTABLES_MAX + 1
    assert _run(machine, _times(-1.0)) not in [program_root(each.program) for each in programs]
    assert _run(machine, programs[1]) == program_root(programs[1].program)  # was forgotten
    assert len(hashed) == EXECUTABLES_MAX + 3


@pytest.mark.parametrize(("max_memory_mb", "compiled"), [(4, 4), (64, 3)])
def test_programs_whose_arenas_do_not_fit_together_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, max_memory_mb: int, compiled: int
) -> None:
    hashed = _hashed_from_now_on(monkeypatch)
    machine = EnhancedVM(max_memory_mb=max_memory_mb)
    programs = [_times(float(factor), 150_000) for factor in range(3)]
    for program in [*programs, programs[0]]:
        _run(machine, program)
    assert len(hashed) == compiled


def _hashed_from_now_on(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """Programs whose root a machine asks for: it has not compiled them, or has forgotten them."""
    hashed: list[Program] = []

    def counting(program: Program) -> bytes:
        hashed.append(program)
        return program_root(program)

    monkeypatch.setattr(enhanced_vm, "program_root", counting)
    return hashed


def _times(factor: float, count: int = 2) -> VerifiedProgram:
    build = Builder()
    return build.finish(y=build.input("x", f"float32[{count}]") * factor)


def _run(machine: EnhancedVM, program: VerifiedProgram) -> bytes:
    """Root that the result names."""
    result = machine.run(program, {"x": np.ones(program.input_types["x"].shape, np.float32)})
    assert result.program is program
    return result.program_root


def test_stack_code_runs_as_before() -> None:
    code = [
        StackInstruction(StackOp.Push, 6.0), StackInstruction(StackOp.Push, 7.0),
        StackInstruction(StackOp.Mul), StackInstruction(StackOp.Store, 3),
    ]  # fmt: skip
    assert EnhancedVM().execute_stack(code).memory == {3: 42.0}
    assert EnhancedVM().execute_stack(encode(code)).memory == {3: 42.0}
    with pytest.raises(StackUnderflowError):
        EnhancedVM().execute_stack(code[2:])
    with pytest.raises(InputError, match="instruction 0: found 1, expected a StackInstruction"):
        EnhancedVM().execute_stack(any_([1]))
    with pytest.raises(InputError, match="code: found 'push 1', expected bytes"):
        EnhancedVM().execute_stack(any_("push 1"))
