"""The backend node tests that the `onnx` wheel ships, as plain typed values: the only face on onnx.

Source: `onnx.backend.test.case.node`; comparison as in `onnx.backend.test.runner`.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test import loader

from bcai.vm.isa.types import Array


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph. An absent input or output has the empty name."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]
    """int, float, str, tuples of them, Array, or Graph."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in order, constants, and the names of what goes in and comes out."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a graph, its inputs and what must come out. `op` is the operator it is about."""

    name: str
    op: str
    graph: Graph
    opset: Mapping[str, int]
    inputs: tuple[object, ...]
    expected: tuple[object, ...]
    rtol: float
    atol: float


@cache
def cases() -> Mapping[str, Case]:
    """Every node test, by name."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        raw = cast("list[Any]", loader.load_model_tests(kind="node"))
    read = {each.name: _case(each) for each in raw}
    return {
        name: each if "_expanded" not in name else _about(each, read, name)
        for name, each in sorted(read.items())
    }


def _about(case: Case, read: Mapping[str, Case], name: str) -> Case:
    """The case, filed under the operator whose function body it expands."""
    whole = read.get(name.partition("_expanded")[0])
    op = whole.op if whole else case.op
    graph, opset, inputs = case.graph, case.opset, case.inputs
    return Case(name, op, graph, opset, inputs, case.expected, case.rtol, case.atol)


def _case(raw: Any) -> Case:
    ((inputs, expected),) = raw.data_sets
    graph = _graph(raw.model.graph)
    return Case(
        name=raw.name,
        op=graph.nodes[0].op,
        graph=graph,
        opset={each.domain: int(each.version) for each in raw.model.opset_import},
        inputs=tuple(_plain(each) for each in inputs),
        expected=tuple(_plain(each) for each in expected),
        rtol=raw.rtol,
        atol=raw.atol,
    )


def _plain(value: Any) -> object:
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, np.generic):
        return np.asarray(cast("Any", value))
    return value


def _array(tensor: Any) -> Array:
    return numpy_helper.to_array(tensor)


def _graph(raw: Any) -> Graph:
    return Graph(
        nodes=tuple(_node(each) for each in raw.node),
        constants={each.name: _array(each) for each in raw.initializer},
        inputs=tuple(each.name for each in raw.input),
        outputs=tuple(each.name for each in raw.output),
    )


def _node(raw: Any) -> Node:
    attributes = {each.name: _attribute(each) for each in raw.attribute}
    return Node(raw.op_type, raw.domain, tuple(raw.input), tuple(raw.output), attributes)


def _attribute(raw: Any) -> object:
    value: Any = helper.get_attribute_value(raw)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, onnx.GraphProto):
        return _graph(value)
    if isinstance(value, int | float):
        return value
    try:
        items = cast("tuple[object, ...]", tuple(value))
    except TypeError:
        return None
    return tuple(each.decode() if isinstance(each, bytes) else each for each in items)


def numpy_type(number: int) -> Any:
    """NumPy dtype of a `TensorProto.DataType`."""
    return cast("Any", helper.tensor_dtype_to_np_dtype(number))


def agree(found: Array, expected: object, rtol: float, atol: float) -> str:
    """Say how they differ, as onnx's own runner compares; integers and bools exactly."""
    if not isinstance(expected, np.ndarray):
        return f"expected {type(expected).__name__}, found a tensor"
    wanted = cast("Array", expected)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"found {found.dtype}{found.shape}, expected {wanted.dtype}{wanted.shape}"
    if wanted.dtype.kind in "iub":
        return "" if np.array_equal(found, wanted) else "integers differ"
    if wanted.dtype.name == "bfloat16":
        rtol = max(rtol, 2.0**-6)
        found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    with np.errstate(all="ignore"):
        same = np.allclose(found, wanted, rtol=rtol, atol=atol, equal_nan=True)
        if same:
            return ""
        gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    return f"values differ by up to {np.nanmax(gap):.3g}"


def version() -> str:
    """Version of the onnx wheel."""
    return onnx.__version__
