"""The forms of the two reference documents that are more than one instruction's own fields."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.attribute import AttributeSchema
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops.hybrid import parse_outputs
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.runtime.form import (
    Field,
    Fields,
    Form,
    Start,
    TypeOf,
    Writer,
    attribute_check,
    dtype_of,
)
from bcai.vm.runtime.generated import bind_results
from bcai.vm.runtime.tensor_id import TensorId

_SCALAR = TensorType(DType.float32)


def _int(name: str) -> Field:
    return Field(name, "value", "int", None, check=AttributeSchema(name, "int").check)


def _ids(*names: str) -> tuple[str, ...]:
    return (*names, *(f"{name}_id" for name in names))


_OUTPUT = Field("output", "result", "tensor that comes out", aliases=("output_id",))
_ID = Field("id", "result", "the tensor")


def _tensor_create(writer: Writer, given: Fields) -> None:
    shape, dtype = cast("tuple[int, ...]", given["shape"]), cast("DType", given["dtype"])
    data = given["data"]
    if data is None:
        attributes = {"shape": shape, "value": given["value"], "dtype": dtype}
        writer.bind(given["id"], writer.emit("Full", (), attributes)[0])
        return
    try:
        array: Array = np.asarray(data).astype(dtype.numpy)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise VerifyError(f"data: not an array of numbers: {error}") from error
    if array.shape != shape:
        raise VerifyError(f"data has the shape {array.shape}, expected {shape}")
    writer.bind(given["id"], writer.constant(array))


TENSOR_CREATE = Form(
    "TensorCreate",
    "Make a tensor: of zeros, of one number, or of data that stands in the program.",
    (
        Field("shape", "value", "sizes", check=AttributeSchema("shape", "ints").check),
        Field("dtype", "value", "element type", DType.float32, check=dtype_of),
        _ID,
        Field("data", "value", "array-like, or None", None),
        Field("value", "value", "the number, without data", 0.0,
              check=AttributeSchema("value", "float").check),
    ),
    _tensor_create,
)  # fmt: skip


def _load(writer: Writer, given: Fields) -> None:
    symbol = writer.tensor(given["id"])
    shape, dtype = given["shape"], given["dtype"]
    if (shape is not None and shape != symbol.shape) or dtype not in (None, symbol.dtype):
        wanted = f"{'any' if dtype is None else cast('DType', dtype).name} of shape {shape}"
        raise VerifyError(f"tensor {given['id']!r} is {symbol.type}, expected {wanted}")


LOAD = Form(
    "Load",
    "Take a tensor from outside: from `inputs`, or what `vm.set_tensor` left. Checks its type.",
    (
        Field("id", "operand", "the tensor"),
        Field("shape", "value", "sizes", None, check=AttributeSchema("shape", "ints").check),
        Field("dtype", "value", "element type", None, check=dtype_of),
    ),
    _load,
)
FREE = Form(
    "Free",
    "Forget a tensor: what comes after may not use it, and it is no output.",
    (Field("id", "operand", "the tensor"),),
    lambda writer, given: writer.free(given["id"]),
)
_LINEAR = LATEST.by_name["Linear"]


def _linear(writer: Writer, given: Fields) -> None:
    x, weight = writer.tensor(given["x"]), writer.tensor(given["weight"])
    for field, found in (("in_features", weight.shape[-1:]), ("out_features", weight.shape[:1])):
        if given[field] is not None and found != (given[field],):
            raise VerifyError(f"weight is {weight.type}, {field} is {given[field]}")
    result = writer.emit("Linear", (x, weight, writer.operand(given["bias"])), {})[0]
    writer.bind(given["output"], result)


def _linear_starts(given: Fields, type_of: TypeOf) -> Mapping[str, Start]:
    size_in, size_out = given["in_features"], given["out_features"]
    if not isinstance(size_in, int) or not isinstance(size_out, int):
        return {}
    x = type_of(given["x"])
    dtype = x.dtype if x is not None else DType.float32
    limit, text = 1.0 / math.sqrt(max(size_in, 1)), f"1/sqrt({size_in})"
    shapes = {"weight": (size_out, size_in), "bias": (size_out,)}
    return {
        identity.port: Start(TensorType(dtype, shape), -limit, limit, text)
        for name, shape in shapes.items()
        if isinstance(identity := given[name], TensorId)
    }


LINEAR = Form(
    "Linear",
    _LINEAR.doc + "\n\nA weight or bias without a value starts as torch's do, evenly spread over "
    "+-1/sqrt(in_features),\ndrawn by Philox from the machine's seed and the tensor's id.",
    (
        Field("x", "operand", "tensor [..., in]", aliases=_ids("input")),
        Field("weight", "operand", "tensor [out, in]", aliases=("weight_id",)),
        Field("bias", "operand", "tensor [out]", None, ("bias_id",)),
        _OUTPUT,
        _int("in_features"),
        _int("out_features"),
    ),
    _linear,
    _linear_starts,
)


def _matmul(writer: Writer, given: Fields) -> None:
    operands = (writer.operand(given["a"]), writer.operand(given["b"]))
    writer.bind(given["output"], writer.emit("MatMul", operands, {})[0])


TENSOR_MATMUL = Form(
    "TensorMatMul",
    LATEST.by_name["MatMul"].doc,
    (
        Field("a", "operand", "tensor [..., m, k]", aliases=("a_id",)),
        Field("b", "operand", "tensor [..., k, n]", aliases=("b_id",)),
        _OUTPUT,
    ),
    _matmul,
)


def _sizes(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return AttributeSchema("sizes", "ints").check(value)


def _convolution(writer: Writer, given: Fields) -> None:
    x, kernel = writer.tensor(given["input"]), writer.tensor(given["kernel"])
    axes = max(len(kernel.shape) - 2, 0)

    def spread(name: str) -> tuple[int, ...]:
        value = given[name]
        return (value,) * axes if isinstance(value, int) else cast("tuple[int, ...]", value)

    padding = spread("padding")
    attributes = {
        "stride": spread("stride"), "padding_before": padding, "padding_after": padding,
        "dilation": spread("dilation"), "groups": given["groups"],
    }  # fmt: skip
    operands = (x, kernel, writer.operand(given["bias"]))
    writer.bind(given["output"], writer.emit("Conv", operands, attributes)[0])


CONVOLUTION_FORWARD = Form(
    "ConvolutionForward",
    LATEST.by_name["Conv"].doc,
    (
        Field("input", "operand", "tensor [n, c, sizes]", aliases=("input_id",)),
        Field("kernel", "operand", "tensor [out, c / groups, sizes]", aliases=_ids("weight")),
        Field("bias", "operand", "tensor [out]", None, ("bias_id",)),
        _OUTPUT,
        Field("stride", "value", "int, or one for each axis", 1, check=_sizes),
        Field("padding", "value", "int, or one for each axis", 0, check=_sizes),
        Field("dilation", "value", "int, or one for each axis", 1, check=_sizes),
        Field("groups", "value", "int", 1, check=AttributeSchema("groups", "int").check),
    ),
    _convolution,
)
_ATTENTION = LATEST.by_name["Attention"]


def _attention(writer: Writer, given: Fields) -> None:
    parts = [writer.tensor(given[name]) for name in ("q", "k", "v")]
    size, heads = given["embed_dim"], given["num_heads"]
    if size is not None and parts[0].shape[-1:] != (size,):
        raise VerifyError(f"the query is {parts[0].type}, embed_dim is {size}")
    if isinstance(heads, int):
        parts = [_split_heads(each, heads) for each in parts]
    attributes = {"scale": given["scale"], "causal": given["causal"]}
    result = writer.emit("Attention", (*parts, writer.operand(given["mask"])), attributes)[0]
    writer.bind(given["output"], _join_heads(result) if isinstance(heads, int) else result)


def _split_heads(x: Symbol, heads: int) -> Symbol:
    if len(x.shape) < 2 or heads < 1 or x.shape[-1] % heads:
        raise VerifyError(f"{x.type}: the last size does not split into {heads} heads")
    *batch, length, size = x.shape
    split = x.reshape(*batch, length, heads, size // heads)
    return split.transpose(-3, -2)


def _join_heads(x: Symbol) -> Symbol:
    *batch, heads, length, size = x.shape
    return x.transpose(-3, -2).reshape(*batch, length, heads * size)


def _attention_form(name: str) -> Form:
    schemas = {each.name: each for each in _ATTENTION.attributes}
    return Form(
        name,
        _ATTENTION.doc + "\n\nWith `num_heads` the last axis of query, key and value holds the "
        "heads side by side, as\n`[..., length, embed_dim]`, and so does the result's.",
        (
            Field("q", "operand", "tensor", aliases=("q_id", *_ids("query"))),
            Field("k", "operand", "tensor", aliases=("k_id", *_ids("key"))),
            Field("v", "operand", "tensor", aliases=("v_id", *_ids("value"))),
            Field("mask", "operand", "tensor", None, ("mask_id",)),
            _OUTPUT,
            _int("embed_dim"),
            _int("num_heads"),
            Field("scale", "value", "float", 0.0, check=schemas["scale"].check),
            Field("causal", "value", "bool", False, check=schemas["causal"].check),
        ),
        _attention,
    )


_ADAM = LATEST.by_name["AdamStep"]


def _adam_step(writer: Writer, given: Fields) -> None:
    powers: Sequence[Symbol | float | None] = [writer.operand(given[n]) for n in ("b1t", "b2t")]
    if given["b1t"] is None:
        ports = _power_ports(given)
        betas = {name: given[name] for name in ("beta1", "beta2")}
        advanced = writer.emit("AdamPowers", [writer.port(each) for each in ports], betas)
        for port, symbol in zip(ports, advanced, strict=True):
            writer.bind(port, symbol)
        powers = advanced
    operands = [*(writer.operand(given[n]) for n in "pgmv"), *powers, writer.tensor(given["lr"])]
    attributes = {each.name: given[each.name] for each in _ADAM.attributes}
    bind_results(writer, writer.emit("AdamStep", operands, attributes), None, given["outputs"])


def _power_ports(given: Fields) -> tuple[str, str]:
    moment = cast("TensorId", given["m"]).port
    return f"{moment}.beta1_power", f"{moment}.beta2_power"


def _adam_starts(given: Fields, type_of: TypeOf) -> Mapping[str, Start]:
    found: dict[str, Start] = {}
    type_ = type_of(given["p"])
    if type_ is not None:
        for name in ("m", "v"):
            found[cast("TensorId", given[name]).port] = Start(type_)
    if given["b1t"] is None:
        found |= {port: Start(_SCALAR, 1.0, 1.0) for port in _power_ports(given)}
    return found


def _settle_adam(given: Fields) -> Fields:
    if (given["b1t"] is None) != (given["b2t"] is None):
        raise VerifyError("AdamStep: b1t and b2t: give both or none")
    if not isinstance(given["m"], TensorId) or not isinstance(given["v"], TensorId):
        raise VerifyError("AdamStep: the moments are tensors, not numbers")
    if given["outputs"] is None:
        return {**given, "outputs": tuple(given[name] for name in "pmv")}
    return given


ADAM_STEP = Form(
    "AdamStep",
    _ADAM.doc + "\n\nWithout `outputs` the parameter's and the moments' ids are bound to their "
    "next values. Moments\nwithout a value start at 0. Without `b1t` and `b2t` the machine keeps "
    "the powers of beta\nwith the first moment, from 1.",
    (
        Field("p", "operand", "tensor", aliases=("p_id", *_ids("param"))),
        Field("g", "operand", "tensor", aliases=("g_id", *_ids("grad"))),
        Field("m", "operand", "tensor", aliases=("m_id", *_ids("moment1"))),
        Field("v", "operand", "tensor", aliases=("v_id", *_ids("moment2"))),
        Field("b1t", "operand", "tensor float32[]", None, ("b1t_id",)),
        Field("b2t", "operand", "tensor float32[]", None, ("b2t_id",)),
        Field("lr", "operand", "number, or tensor float32[]", 0.001, ("lr_id",)),
        *(Field(each.name, "value", each.kind, each.default, check=attribute_check(each))
          for each in _ADAM.attributes),
        Field("outputs", "results", "the next parameter and moments", None, ("output_ids",)),
    ),
    _adam_step,
    _adam_starts,
    _settle_adam,
)  # fmt: skip
_PYTHON: Op = LATEST.by_name["PythonExecute"]


def _python_execute(writer: Writer, given: Fields) -> None:
    inputs = [writer.tensor(each) for each in cast("Sequence[object]", given["inputs"])]
    declared = cast("Mapping[object, str]", given["outputs"])
    attributes = {name: given[name] for name in ("code", "sandbox", "gpu")}
    attributes["outputs"] = ", ".join(declared.values())
    results = writer.emit("PythonExecute", inputs, attributes)
    if not declared:
        writer.bind(f"python{results[0].index}.ran", results[0])
        return
    for target, symbol in zip(declared, results, strict=True):
        writer.bind(target, symbol)


def _declared(value: object) -> Mapping[TensorId, str]:
    pairs = cast("Mapping[Any, Any]", value)
    if not isinstance(value, Mapping) or not all(
        isinstance(each, int | str) for pair in pairs.items() for each in pair
    ):
        raise TypeError(f"found {value!r}, expected such as {{TensorId(3): 'y: float32[2,3]'}}")
    for text in pairs.values():
        if not isinstance(text, str) or len(parse_outputs(text)) != 1:
            raise TypeError(f"found {text!r}, expected one output, such as 'y: float32[2,3]'")
    parse_outputs(", ".join(pairs.values()))
    return {TensorId(key): text for key, text in pairs.items()}


PYTHON_EXECUTE = Form(
    "PythonExecute",
    _PYTHON.doc,
    (
        Field("code", "value", "Python code", check=AttributeSchema("code", "str").check),
        Field("inputs", "operands", "tensors", (), ("input_ids",)),
        Field("outputs", "results", "variables that come out: {TensorId(3): 'y: float32[2,3]'}",
              {}, check=_declared),
        *(Field(each.name, "value", " | ".join(each.choices) or each.kind, each.default,
                ("gpu_enabled",) if each.name == "gpu" else (), attribute_check(each))
          for each in _PYTHON.attributes if each.name in ("sandbox", "gpu")),
    ),
    _python_execute,
)  # fmt: skip

DOCUMENTED = (
    TENSOR_CREATE, LOAD, FREE, LINEAR, TENSOR_MATMUL, CONVOLUTION_FORWARD, ADAM_STEP,
    _attention_form("Attention"), _attention_form("TransformerAttention"), PYTHON_EXECUTE,
)  # fmt: skip
