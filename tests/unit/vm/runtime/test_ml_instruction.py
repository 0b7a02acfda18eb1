"""`MLInstruction`: every instruction of the set is there, and says what its fields are."""

import inspect

import numpy as np
import pytest
from tests.conformance.vm.instruction_cases import build, draws
from tests.unit.vm.program.random_programs import run_nothing

from bcai.base.errors import InputError, VerifyError
from bcai.vm import DataType, EnhancedVM, MLInstruction, TensorId
from bcai.vm.isa.op import Op
from bcai.vm.isa.versions import LATEST
from bcai.vm.runtime.generated import generated_form
from bcai.vm.runtime.ml_instruction import FORMS

OPS = [pytest.param(op, id=name) for name, op in sorted(LATEST.by_name.items())]
DOCUMENTED = (
    "TensorCreate",
    "TensorOp",
    "TensorMatMul",
    "ConvolutionForward",
    "TransformerAttention",
    "Attention",
    "Linear",
    "AdamStep",
    "PythonExecute",
)


def test_all_names_are_there() -> None:
    listed = dir(MLInstruction)
    for name in (*LATEST.by_name, *DOCUMENTED):
        assert name in listed
        assert callable(getattr(MLInstruction, name))


@pytest.mark.parametrize("op", OPS)
def test_each_has_a_manual_with_every_field(op: Op) -> None:
    make = getattr(MLInstruction, op.name)
    assert make.__name__ == op.name
    manual = inspect.getdoc(make) or ""
    assert op.doc.splitlines()[0] in manual
    fields = inspect.signature(make).parameters
    form = FORMS[op.name]
    assert [*fields] == [each.name for each in form.fields]
    for field in form.fields:
        assert f"\n    {field.name}" in manual
    for schema in op.attributes:
        assert schema.name in fields


@pytest.mark.parametrize("op", OPS)
def test_each_runs_as_the_instruction_does(op: Op) -> None:
    """The generated form, by ids, against the builder, on each instruction's first case."""
    case = op.type_rule.accepts[0]
    accepted = build(op, case)
    plain = op.operands[:-1] if op.variadic else op.operands
    ids = [None if each is None else index for index, each in enumerate(case.operands)]
    fields: dict[str, object] = dict(zip(plain, ids, strict=False))
    if op.variadic:
        fields[op.operands[-1]] = ids[len(plain) :]
    results = [100 + index for index in range(len(accepted.results))]
    form = generated_form(op)
    several = next(each.name for each in form.fields if each.kind == "results")
    bound = form.bind({**fields, **case.attributes, several: results})
    instruction = MLInstruction(form, bound)
    for values in draws(case):
        machine = EnhancedVM(python=run_nothing)
        inputs = {int(name): value for name, value in values.items()}
        try:
            found = machine.execute_program([instruction], inputs=inputs).outputs
        except InputError:
            continue
        expected = machine.run(accepted.program, values).outputs
        for index, identity in enumerate(results):
            assert found[TensorId(identity)].tobytes() == expected[str(index)].tobytes()
        return
    pytest.fail("every draw of instruction_cases.py is refused")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("Relu", {"x": 1}, "Relu: output (or outputs) is missing"),
        ("Relu", {"output": 1}, "Relu: x (tensor) is missing"),
        ("Relu", {"x": 1, "y": 2, "output": 3}, "Relu: no field 'y'; it has x, output, outputs"),
        ("Relu", {"x": 1, "x_id": 2, "output": 3}, "Relu: x_id is x, which is given already"),
        ("Relu", {"x": "a", "output": 3}, "Relu: x: found 'a', expected a TensorId"),
        ("Relu", {"x": True, "output": 3}, "Relu: x: found True, expected a TensorId"),
        ("Relu", {"x": -1, "output": 3}, "Relu: x: TensorId(-1): expected a whole number"),
        ("Relu", {"x": 1, "output": 1.5}, "Relu: output: found 1.5, expected a TensorId"),
        ("Relu", {"x": 1, "output": 1, "outputs": [1]}, "output and outputs: give one of them"),
        ("Concat", {"parts": 1, "axis": 0, "output": 3}, "parts: found 1, expected a list"),
        ("Linear", {"in_feature": 3}, "did you mean 'in_features'?"),
        ("Linear", {"x": 1, "weight": 2, "output": 3, "in_features": "a"}, "in_features: found"),
        ("Softmax", {"x": 1, "output": 2, "axis": 0.5}, "Softmax: axis: found 0.5, expected int"),
        ("Cast", {"x": 1, "output": 2, "dtype": "float31"}, "no element type 'float31'"),
        ("Gelu", {"x": 1, "output": 2, "approximate": "no"}, "expected one of"),
        ("AdamStep", {"p": 1, "g": 2, "m": 3, "v": 4, "b1t": 5}, "b1t and b2t: give both"),
        ("AdamStep", {"p": 1, "g": 2, "m": 0.0, "v": 4}, "the moments are tensors"),
        ("SgdStep", {"p": 1, "g": 2, "m": 0.0, "lr": 0.1}, "expected tensors, not numbers"),
        ("PythonExecute", {"code": "", "outputs": {1: "y"}}, "expected such as"),
        ("PythonExecute", {"code": "", "outputs": [1]}, "expected such as"),
        (
            "PythonExecute",
            {"code": "", "outputs": {1: "y: float32[], z: float32[]", 2: "w: float32[]"}},
            "expected one output",
        ),
        ("TensorOp", {"op": "Matmul"}, "did you mean 'MatMul'?"),
        ("TensorOp", {"op": "Relu", "inputs": [1, 2], "output": 3}, "Relu takes x; found 2 inputs"),
        ("TensorOp", {"op": "Relu", "inputs": 1, "output": 3}, "expected a list of tensors"),
    ],
)
def test_a_wrong_field_is_named(name: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        getattr(MLInstruction, name)(**fields)
    assert message in str(caught.value)


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="MLInstruction has no 'Liner'; did you mean 'Linear'"):
        _ = MLInstruction.Liner


def test_other_spellings_mean_the_same() -> None:
    plain = MLInstruction.Linear(x=1, weight=2, bias=3, output=4)
    other = MLInstruction.Linear(input_id=1, weight_id=TensorId(2), bias_id=3, output_id=4)
    assert str(plain) == str(other)
    for dtype in (DataType.Float16, "float16", np.float16):
        cast = MLInstruction.Cast(x=1, dtype=dtype, output=2)
        assert cast.fields["dtype"] is DataType.Float16.value
    assert repr(plain).startswith("MLInstruction.Linear(x=TensorId(1), weight=TensorId(2)")
