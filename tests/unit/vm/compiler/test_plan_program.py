"""Plans compute what programs do, to the bit, and fuse what belongs together."""

from collections.abc import Sequence

import numpy as np
import pytest
from tests.conformance.vm.instruction_cases import (
    OPS,
    REFERENCE,
    build,
    of_degenerate_shapes,
    of_every_dtype,
    run,
)
from tests.conformance.vm.test_instructions import weights_of, write_gradient
from tests.unit.vm.compiler.plan_interpreter import run_plan
from tests.unit.vm.compiler.test_plan_random import anything, nothing
from tests.unit.vm.compiler.training_steps import MODELS, first_values, write_step

from bcai.base.errors import InputError, RefusedError
from bcai.vm.compiler.describe_plan import describe
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.compiler.plan import LoopTask, OpTask, Plan, Role
from bcai.vm.compiler.plan_program import make_plan
from bcai.vm.isa.op import Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

EVERY = [pytest.param(op, id=op.name) for op in OPS]
DIFFERENTIABLE = [pytest.param(op, id=op.name) for op in OPS if op.differentiable]


def check(program: VerifiedProgram, values: dict[str, Array], expected: dict[str, Array]) -> None:
    found = run_plan(make_plan(program, elementwise=anything), values)
    assert {name: (each.shape, each.tobytes()) for name, each in found.items()} == {
        name: (each.shape, each.tobytes()) for name, each in expected.items()
    }


@pytest.mark.parametrize("op", EVERY)
def test_every_instruction(op: Op) -> None:
    for case in op.type_rule.accepts:
        for each in (case, *of_degenerate_shapes(op, case)):
            accepted = build(op, each)
            try:
                values, results = run(accepted)
            except (InputError, RefusedError):
                continue
            check(accepted.program, values, results)


@pytest.mark.slow
@pytest.mark.parametrize("op", EVERY)
def test_every_instruction_in_every_type(op: Op) -> None:
    for case in op.type_rule.accepts:
        for each in of_every_dtype(op, case):
            accepted = build(op, each)
            try:
                values, results = run(accepted)
            except (InputError, RefusedError):
                continue
            check(accepted.program, values, results)


@pytest.mark.slow
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_every_gradient(op: Op) -> None:
    for case in op.type_rule.accepts:
        for each in (case, *of_degenerate_shapes(op, case)):
            accepted, program = build(op, each), write_gradient(op, each)
            if program is None:
                continue
            try:
                values = run(accepted)[0] | weights_of(accepted)
                ports = {port.name for port in program.program.ports}
                values = {name: value for name, value in values.items() if name in ports}
                expected = REFERENCE.run(program, values)
            except (InputError, RefusedError):
                continue
            check(program, values, expected)


@pytest.mark.parametrize("name", MODELS)
def test_training_steps(name: str) -> None:
    model = MODELS[name]
    program, values = write_step(model), first_values(model)
    check(program, values, REFERENCE.run(program, values))


def loops(plan: Plan) -> list[LoopTask]:
    return [task for task in plan.tasks if isinstance(task, LoopTask)]


def names(plan: Plan) -> list[str]:
    return [task.op.name for task in plan.tasks if isinstance(task, OpTask)]


def finished(**outputs: Symbol) -> VerifiedProgram:
    builder = next(iter(outputs.values())).builder
    assert isinstance(builder, Builder)
    return builder.finish(**outputs)


def planned(**outputs: Symbol) -> Plan:
    return make_plan(finished(**outputs), elementwise=anything)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("Softmax", {"axis": -1}),
        ("Softmax", {"axis": 1}),
        ("LogSoftmax", {"axis": -1}),
        ("LayerNorm", {}),
        ("RmsNorm", {}),
        ("Gelu", {}),
        ("LogSumExp", {"axes": (-1,)}),
    ],
)
def test_one_loop_does_an_instruction(name: str, attributes: dict[str, int]) -> None:
    x = Builder().input("x", "float32[8,16,32]")
    plan = planned(y=x.emit(name, **attributes))
    assert len(plan.tasks) == len(loops(plan)) == 1


@pytest.mark.parametrize(
    ("name", "most"), [("Softmax", 2), ("LogSoftmax", 2), ("LayerNorm", 2), ("RmsNorm", 2)]
)
def test_few_loops_do_its_gradient(name: str, most: int) -> None:
    builder = Builder()
    x, d = (builder.input(each, "float32[64,32]") for each in ("x", "d"))
    y = x.emit(name)
    plan = planned(y=y, d_x=gradients((y * d).sum(), [x])[0])
    assert len(plan.tasks) == len(loops(plan)) <= most


def test_a_layer_norm_with_parameters() -> None:
    builder = Builder()
    x, d = (builder.input(each, "float32[8,8,32]") for each in ("x", "d"))
    w, b = (builder.parameter(each, "float32[32]") for each in ("w", "b"))
    y = x.emit("LayerNorm", w, b)
    found = gradients((y * d).sum(), [x, w, b])
    forward = planned(y=y)
    assert len(forward.tasks) == 1
    whole = planned(y=y, **dict(zip(("x.d", "w.d", "b.d"), found, strict=True)))
    assert len(loops(whole)) == len(whole.tasks) <= 1 + 3


def test_an_optimizer_step_is_one_loop() -> None:
    builder = Builder()
    known = [builder.parameter(name, "float32[40,30]") for name in "pgmv"]
    scalars = [builder.parameter(name, "float32[]") for name in ("b1t", "b2t", "lr")]
    results = builder.emit("AdamStep", [*known, *scalars], {"weight_decay": 0.1})
    plan = planned(**dict(zip(("p", "m", "v"), results, strict=True)))
    assert len(plan.tasks) == 1


def test_gradients_lie_as_their_parameters_do() -> None:
    builder, outputs = Builder(), dict[str, Symbol]()
    x, d = builder.input("x", "float32[8,16]"), builder.input("d", "float32[8,24]")
    w, m = (builder.parameter(name, "float32[24,16]") for name in "wm")
    (gradient,) = gradients((x.emit("Linear", w) * d).sum(), [w])
    step = w.scalar(0.1)
    results = builder.emit("SgdStep", (w, gradient, m, step), {"momentum": 0.9})
    outputs |= dict(zip("wm", results, strict=True))
    plan = planned(**outputs)
    assert loops(plan)[-1].shape == (24 * 16,)


def test_optimizer_steps_share_their_scalars() -> None:
    builder, outputs = Builder(), dict[str, Symbol]()
    scalars = [builder.input(name, "float32[]") for name in ("b1t", "b2t", "lr")]
    states = [
        [builder.parameter(f"{name}{index}", f"float32[{40 + index},30]") for name in "pgmv"]
        for index in range(3)
    ]
    clipped = builder.emit("ClipNorm", [state[1] for state in states], {"max_norm": 1.0})
    for index, (state, gradient) in enumerate(zip(states, clipped, strict=True)):
        state[1] = gradient
        results = builder.emit("AdamStep", [*state, *scalars], {})
        outputs |= {f"{name}{index}": each for name, each in zip("pmv", results, strict=True)}
    plan = planned(**outputs)
    assert len([task for task in loops(plan) if len(task.stores) == 3]) == 3
    assert len(plan.tasks) <= 3 + 3 + 3  # updates, norms, scalars


def test_attention_is_a_loop_between_two_products() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,16,96]")
    heads = x.reshape(2, 16, 3, 4, 8).permute(2, 0, 3, 1, 4)
    q, k, v = (heads.emit("Select", axis=0, index=index) for index in range(3))
    y = q.emit("Attention", k, v, causal=True).permute(0, 2, 1, 3).reshape(2, 16, 32)
    plan = planned(y=y)
    assert [type(task) for task in plan.tasks] == [OpTask, LoopTask, OpTask]
    last = plan.tasks[2]
    assert isinstance(last, OpTask)
    assert last.results[0].buffer == plan.outputs["y"].buffer


def test_a_transformer_step() -> None:
    plan = make_plan(write_step(MODELS["transformer"]), elementwise=anything)
    assert names(plan).count("MatMul") == 21
    assert len(loops(plan)) <= 54
    assert "MatMul" in describe(plan)


def test_a_bias_and_an_activation_are_one_loop() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,8,16]")
    w, b = builder.parameter("w", "float32[32,16]"), builder.parameter("b", "float32[32]")
    r = builder.parameter("r", "float32[2,8,32]")
    y = (x.emit("Linear", w, b).emit("Gelu") + r).emit("LayerNorm")
    plan = planned(y=y)
    assert [type(task) for task in plan.tasks] == [OpTask, LoopTask]


def test_a_long_fold_is_shared_out() -> None:
    x = Builder().input("x", "float32[70001]")
    program = finished(y=(x * x).sum())
    plan = make_plan(program, elementwise=anything)
    assert len(loops(plan)) <= 3
    assert loops(plan)[0].shape[0] == 70001 // 4096
    values: dict[str, Array] = {"x": np.random.default_rng(0).normal(size=70001).astype(np.float32)}
    assert run_plan(plan, values)["y"].tobytes() == REFERENCE.run(program, values)["y"].tobytes()


def test_parts_are_written_where_they_belong() -> None:
    x = Builder().input("x", "float32[6,4]")
    a, b = x.emit("Exp"), x.emit("Neg")
    plan = planned(y=a.emit("Concat", b, axis=1))
    assert len(plan.tasks) == 1
    assert [buffer.role for buffer in plan.buffers] == [Role.INPUT, Role.OUTPUT]


def test_gradients_of_slices_never_become_tensors() -> None:
    builder = Builder()
    x, w = builder.input("x", "float32[6,8]"), builder.input("w", "float32[8,8]")
    y = x @ w
    parts = builder.emit("Split", (y,), {"axis": 1, "sizes": (2, 6)})
    loss = (parts[0] * parts[0]).sum() + parts[1].emit("Exp").sum()
    plan = planned(d=gradients(loss, [y])[0])
    assert all(task.nodes for task in loops(plan))
    stored = sum(view.type.elements for task in loops(plan) for _, view in task.stores)
    assert stored == 6 * 8


def test_an_output_may_be_given_or_stand_twice() -> None:
    builder = Builder()
    x = builder.input("x", "float32[2,3]")
    c = builder.constant(np.arange(3, dtype=np.float32))
    y = x.emit("Neg")
    plan = planned(x=x, part=x[1], c=c, y=y, again=y, flat=y.reshape(6), zero=y.full_like(0.0))
    assert plan.outputs["part"].offset == 3
    assert plan.outputs["y"].buffer == plan.outputs["again"].buffer == plan.outputs["flat"].buffer
    values: dict[str, Array] = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = run_plan(plan, values)
    assert found["zero"].tolist() == [[0.0] * 3] * 2
    assert found["part"].tolist() == [3, 4, 5]


def test_values_are_kept_on_demand() -> None:
    x = Builder().input("x", "float32[2,3]")
    e = x.emit("Exp")
    program = finished(y=e.sum())
    plan = make_plan(program, elementwise=anything, keep=frozenset({e.index}))
    values: dict[str, Array] = {"x": np.ones((2, 3), np.float32)}
    expected = REFERENCE.run(finished(e=e), values)["e"]
    assert run_plan(plan, values)[f"kept {e.index}"].tobytes() == expected.tobytes()
    assert set(plan.outputs) == {"y"}


def test_a_macro_that_a_backend_has_code_for_stays_whole() -> None:
    def expanded(op: Op) -> bool:
        return op.is_macro and op.name != "TopK"

    x = Builder().input("x", "float32[4,8]")
    values, places = x.builder.emit("TopK", (x.emit("Relu"),), {"k": 3, "axis": 1, "largest": True})
    program = finished(values=values, places=places)
    assert names(make_plan(program, elementwise=anything)) == ["Sort"]
    plan = make_plan(program, elementwise=anything, expanded=expanded)
    assert names(plan) == ["TopK"]
    given: dict[str, Array] = {"x": np.random.default_rng(0).normal(size=(4, 8)).astype("f4")}
    found = run_plan(plan, given)
    for name, array in REFERENCE.run(program, given).items():
        assert found[name].tobytes() == array.tobytes()


def test_a_plan_can_be_read() -> None:
    builder = Builder()
    x, w = builder.input("x", "float32[8,16]"), builder.parameter("w", "float32[4,16]")
    plan = planned(y=x.emit("Linear", w).emit("Softmax"))
    assert describe(plan).splitlines() == [
        "    0  MatMul x:float32[8,16] w:float32[16,4](1,16)+0 > t2:float32[8,4]",
        "    1  loop [8|4] t2 > o3:float32: ReduceMax Sub Exp Sum Div",
        "2 tasks, 1 of them loops; temporaries 128 B in at most 128 B",
    ]


def test_plans_are_the_same_every_time() -> None:
    program = write_step(MODELS["cnn"])
    first, second = (describe(make_plan(program, elementwise=anything)) for _ in range(2))
    assert first == second


def test_instructions_that_do_not_stand_in_loops() -> None:
    def some(op: Op, dtypes: Sequence[object]) -> bool:
        return op.name != "Exp" and bool(dtypes)

    x = Builder().input("x", "float32[4,8]")
    program = finished(y=x.emit("Softmax"))
    plan = make_plan(program, elementwise=some)
    assert names(plan) == ["Exp"]
    assert len(loops(plan)) == 2
    assert loops(make_plan(program, elementwise=nothing))  # folds always do
