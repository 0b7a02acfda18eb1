"""RNN, GRU and LSTM: our instructions where they mean the same, else step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.conformance.onnx.importer import Node, Results, UnsupportedError, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
"""Where each gate of our instruction stands among ONNX's."""


@dataclass(frozen=True, slots=True)
class Direction:
    """Weights and first states of one direction, without the axis of directions."""

    w: Symbol
    r: Symbol
    input_bias: Symbol
    state_bias: Symbol
    h: Symbol
    c: Symbol
    peepholes: list[Symbol] | None


@onnx_op("RNN", "GRU", "LSTM")
def recurrent(node: Node) -> Results:
    if node.has("clip") or node.has("activation_alpha") or node.integer("input_forget", 0):
        raise UnsupportedError("a clipped or otherwise altered recurrence")
    if _is_plain(node):
        return _instruction(node)
    x = node[0].permute(1, 0, 2) if node.integer("layout", 0) else node[0]
    direction = node.text("direction", "forward")
    runs: list[tuple[list[Symbol], Symbol, Symbol]] = []
    for place in range(node[1].shape[0]):
        backward = direction == "reverse" or place == 1
        runs.append(_run(node, x, _direction(node, place, x.shape[1]), backward=backward))
    steps = [node.emit("Concat", *(_row(y, 0) for y in ys), axis=0) for ys, _, _ in runs]
    y = node.emit("Concat", *(each.emit("Unsqueeze", axes=(1,)) for each in steps), axis=1)
    h = node.emit("Concat", *(_row(each, 0) for _, each, _ in runs), axis=0)
    c = node.emit("Concat", *(_row(each, 0) for _, _, each in runs), axis=0)
    if node.integer("layout", 0):
        y, h, c = y.permute(2, 0, 1, 3), h.permute(1, 0, 2), c.permute(1, 0, 2)
    return y, h, c


def _is_plain(node: Node) -> bool:
    """Whether our instruction means the same."""
    linear = node.raw.op != "GRU" or bool(node.integer("linear_before_reset", 0))
    rows_end = node.get(4) is not None
    return linear and not (rows_end or node.get(7) is not None or node.has("activations"))


def _instruction(node: Node) -> list[Symbol]:
    x, directions, hidden = node[0], node[1].shape[0], node[2].shape[-1]
    by_batch = bool(node.integer("layout", 0))
    steps, batch = x.shape[by_batch], x.shape[1 - by_batch]
    backward = node.text("direction", "forward") == "reverse"
    states: list[Symbol] = []
    for index in (5, 6) if node.raw.op == "LSTM" else (5,):
        given = node.get(index)
        if given is None:
            states.append(node.zeros((directions, batch, hidden), x))
        else:
            states.append(given.permute(1, 0, 2) if by_batch else given)
    y, *last = node.all(
        node.raw.op.capitalize(),
        node.emit("Flip", x, axes=(int(by_batch),)) if backward else x,
        *states,
        *(each for place in range(directions) for each in _weights(node, place)),
        hidden=hidden,
        bidirectional=directions == 2,
        batch_first=by_batch,
        bias=node.get(3) is not None,
    )
    y = node.emit("Flip", y, axes=(int(by_batch),)) if backward else y
    if by_batch:
        apart = y.reshape(batch, steps, directions, hidden)
        return [apart, *(each.permute(1, 0, 2) for each in last)]
    return [y.reshape(steps, batch, directions, hidden).permute(0, 2, 1, 3), *last]


def _weights(node: Node, place: int) -> list[Symbol]:
    """Weights and biases of one direction, gates in the order of our instruction."""
    count, bias = GATES[node.raw.op], node.get(3)
    parts = [node[index].emit("Select", axis=0, index=place) for index in (1, 2)]
    if bias is not None:
        own = bias.emit("Select", axis=0, index=place)
        parts += [own[: own.shape[0] // 2], own[own.shape[0] // 2 :]]
    ordered: list[Symbol] = []
    for each in parts:
        gates = node.all("Split", each, axis=0, sizes=(each.shape[0] // count,) * count)
        ordered.append(node.emit("Concat", *(gates[at] for at in ORDER[node.raw.op]), axis=0))
    return ordered


def _row(x: Symbol, axis: int) -> Symbol:
    return x.emit("Unsqueeze", axes=(axis,))


def _direction(node: Node, place: int, batch: int) -> Direction:
    hidden = node[2].shape[-1]
    size = GATES[node.raw.op] * hidden

    def pick(index: int, *shape: int) -> Symbol:
        given = node.get(index)
        if given is None:
            return node.zeros(shape, node[0])
        if node.integer("layout", 0) and index in (5, 6):
            given = given.permute(1, 0, 2)
        return given.emit("Select", axis=0, index=place)

    bias = pick(3, 2 * size)
    peepholes = None
    if node.raw.op == "LSTM" and node.get(7) is not None:
        peepholes = list(node.all("Split", pick(7, 3 * hidden), axis=0, sizes=(hidden,) * 3))
    return Direction(
        w=pick(1).transpose(),
        r=pick(2).transpose(),
        input_bias=bias[:size],
        state_bias=bias[size:],
        h=pick(5, batch, hidden),
        c=pick(6, batch, hidden) if node.raw.op == "LSTM" else node.zeros((batch, hidden), node[0]),
        peepholes=peepholes,
    )


def _run(
    node: Node, x: Symbol, parts: Direction, *, backward: bool
) -> tuple[list[Symbol], Symbol, Symbol]:
    """All outputs in the order of time, and the last states; past a row's length they stay."""
    h, c, length = parts.h, parts.c, x.shape[0]
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[node.raw.op]
    lengths = node.get(4)
    outputs: dict[int, Symbol] = {}
    for time in reversed(range(length)) if backward else range(length):
        next_h, next_c = step(node, x[time] @ parts.w + parts.input_bias, h, c, parts)
        outputs[time] = next_h
        if lengths is not None:
            alive = lengths.cast(DType.int64).reshape(h.shape[0], 1) > time
            outputs[time] = node.where(alive, next_h, 0.0)
            next_h, next_c = node.where(alive, next_h, h), node.where(alive, next_c, c)
        h, c = next_h, next_c
    return [outputs[time] for time in range(length)], h, c


def _activations(node: Node, *default: str) -> list[Callable[[Symbol], Symbol]]:
    names: tuple[str, ...] = node.attribute("activations", default)
    known = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
    for name in names:
        if name.lower() not in known:
            raise UnsupportedError(f"activation {name}")
    return [partial(_apply, node, known[name.lower()]) for name in names[: len(default)]]


def _apply(node: Node, name: str, x: Symbol) -> Symbol:
    return node.emit(name, x)


def _rnn_step(
    node: Node, given: Symbol, h: Symbol, c: Symbol, parts: Direction
) -> tuple[Symbol, Symbol]:
    (f,) = _activations(node, "Tanh")
    return f(given + (h @ parts.r + parts.state_bias)), c


def _gru_step(
    node: Node, given: Symbol, h: Symbol, c: Symbol, parts: Direction
) -> tuple[Symbol, Symbol]:
    f, g = _activations(node, "Sigmoid", "Tanh")
    size = h.shape[-1]
    recalled = h @ parts.r + parts.state_bias
    z, r = (
        f(given[:, start : start + size] + recalled[:, start : start + size]) for start in (0, size)
    )
    if node.integer("linear_before_reset", 0):
        new = g(given[:, 2 * size :] + r * recalled[:, 2 * size :])
    else:
        reset = (r * h) @ parts.r[:, 2 * size :] + parts.state_bias[2 * size :]
        new = g(given[:, 2 * size :] + reset)
    return (1.0 - z) * new + z * h, c


def _lstm_step(
    node: Node, given: Symbol, h: Symbol, c: Symbol, parts: Direction
) -> tuple[Symbol, Symbol]:
    f, g, last = _activations(node, "Sigmoid", "Tanh", "Tanh")
    size = h.shape[-1]
    gates = given + (h @ parts.r + parts.state_bias)
    i, o, forget, new = node.all("Split", gates, axis=1, sizes=(size,) * 4)
    if parts.peepholes is not None:
        i, forget = i + parts.peepholes[0] * c, forget + parts.peepholes[2] * c
    c = f(forget) * c + f(i) * g(new)
    if parts.peepholes is not None:
        o = o + parts.peepholes[1] * c
    return f(o) * last(c), c
