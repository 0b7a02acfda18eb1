"""Control flow that is known when the Program is written: branches chosen, loops unrolled."""

from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op
from tests.conformance.onnx.suite import Graph

from bcai.vm.isa.symbol import Symbol

STEPS_MAX = 256


def _graph(node: Node, name: str) -> Graph:
    graph = node.attribute(name)
    assert isinstance(graph, Graph)
    return graph


@onnx_op("If")
def if_(node: Node) -> Results:
    """Both branches and a choice; one branch where the condition decides shapes."""
    condition = node[0].reshape()
    names = ("then_branch", "else_branch")
    if node.importer.depends(condition):
        sides = [node.importer.graph(_graph(node, name), node.scope) for name in names]
        if all(yes.type == no.type for yes, no in zip(*sides, strict=True)):
            return [node.where(condition, yes, no) for yes, no in zip(*sides, strict=True)]
    return node.importer.graph(_graph(node, names[not node.known(0).reshape(())]), node.scope)


@onnx_op("Loop")
def loop(node: Node) -> Results:
    body = _graph(node, "body")
    most = node.known_ints(0)[0] if node.get(0) is not None else STEPS_MAX
    going = node.get(1)
    state = [node[index] for index in range(2, len(node.inputs))]
    rows: list[list[Symbol]] = []
    for number in range(min(most, STEPS_MAX)):
        if going is not None and not node.importer.value(going).reshape(()):
            break
        step = node.arange(1).reshape() + number
        condition = going if going is not None else step.equal(step)
        given = zip(body.inputs, [step, condition, *state], strict=True)
        going, *rest = node.importer.graph(body, {**node.scope, **dict(given)})
        state, emitted = rest[: len(state)], rest[len(state) :]
        rows.append(emitted)
    if len(rows) == STEPS_MAX:
        raise UnsupportedError(f"a loop of {STEPS_MAX} steps or more")
    if not rows and len(body.outputs) > 1 + len(state):
        raise UnsupportedError("a loop that never runs and yet scans")
    return [*state, *(_stacked(node, column, 0) for column in zip(*rows, strict=True))]


@onnx_op("Scan")
def scan(node: Node) -> Results:
    if node.version < 9:
        raise UnsupportedError("a scan over a batch (opset 8)")
    body = _graph(node, "body")
    count = node.integer("num_scan_inputs")
    every = [node[index] for index in range(len(node.inputs))]
    state, scanned = every[:-count], every[-count:]
    outputs = len(body.outputs) - len(state)
    axes = node.integers("scan_input_axes", [0] * count)
    backward = node.integers("scan_input_directions", [0] * count)
    axes = [axis_of(a, len(x.shape)) for a, x in zip(axes, scanned, strict=True)]
    length = scanned[0].shape[axes[0]]
    rows: list[list[Symbol]] = []
    for number in range(length):
        parts = [
            x.emit("Select", axis=axis, index=length - 1 - number if reverse else number)
            for x, axis, reverse in zip(scanned, axes, backward, strict=True)
        ]
        given = zip(body.inputs, [*state, *parts], strict=True)
        results = node.importer.graph(body, {**node.scope, **dict(given)})
        state = results[: len(state)]
        rows.append(results[len(state) :])
    columns = [list(column) for column in zip(*rows, strict=True)]
    turned = node.integers("scan_output_directions", [0] * outputs)
    places = node.integers("scan_output_axes", [0] * outputs)
    stacked = [
        _stacked(node, column[::-1] if reverse else column, axis)
        for column, reverse, axis in zip(columns, turned, places, strict=True)
    ]
    return [*state, *stacked]


def _stacked(node: Node, parts: "list[Symbol] | tuple[Symbol, ...]", axis: int) -> Symbol:
    place = axis_of(axis, len(parts[0].shape) + 1)
    apart = [part.emit("Unsqueeze", axes=(place,)) for part in parts]
    return node.emit("Concat", *apart, axis=place)
