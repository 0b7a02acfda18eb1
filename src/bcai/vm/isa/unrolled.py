"""How recurrent layers are unrolled over time, forwards and backwards, for any kind of cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types
from bcai.vm.isa.rules import same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import TensorType

Symbols = tuple[Symbol, ...]
STEPS_MAX = 1 << 16  # each step is some twenty instructions once it is unrolled


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a cell: its next states (the output first) and what its gradient needs."""

    states: Symbols
    kept: Symbols


@dataclass(frozen=True, slots=True)
class Pulled:
    """Gradients of the input's product, of the state's product and of the states before."""

    x: Symbol
    h: Symbol
    direct: Symbol | None = None
    """Of the output before, but for what comes through the state's product."""
    others: Symbols = ()


class Cell(Protocol):
    """What one step computes from the input's and the state's products (biases included)."""

    @property
    def states(self) -> int:
        """How many states it has, the output included."""
        ...

    def step(self, x: Symbol, h: Symbol, states: Symbols) -> Step:
        """`T[batch, gates * hidden]` twice, and the states `T[batch, hidden]`, to the next ones."""
        ...

    def pull(self, step: Step, before: Symbols, d: Symbols) -> Pulled:
        """Gradients from those of the states that the step gave."""
        ...


def _parts(x: Symbol, count: int) -> Symbols:
    size = x.shape[-1] // count
    return x.builder.emit("Split", (x,), {"axis": -1, "sizes": (size,) * count})


def _joined(parts: Sequence[Symbol], axis: int) -> Symbol:
    return parts[0] if len(parts) == 1 else parts[0].emit("Concat", *parts[1:], axis=axis)


class Lstm:
    """Gates i, f, g, o; states h and c."""

    states = 2

    def step(self, x: Symbol, h: Symbol, states: Symbols) -> Step:
        """The next states."""
        sums = _parts(x + h, 4)
        i, f, o = (sums[index].emit("Sigmoid") for index in (0, 1, 3))
        g = sums[2].emit("Tanh")
        c = f.emit("Fma", states[1], i * g)
        tanh = c.emit("Tanh")
        return Step((o * tanh, c), (i, f, g, o, tanh))

    def pull(self, step: Step, before: Symbols, d: Symbols) -> Pulled:
        """Gradients of one step."""
        i, f, g, o, tanh = step.kept
        d_c = d[1] + d[0] * o * (1.0 - tanh * tanh)
        d_sums = _joined(
            (
                d_c * g * (i * (1.0 - i)),
                d_c * before[1] * (f * (1.0 - f)),
                d_c * i * (1.0 - g * g),
                d[0] * tanh * (o * (1.0 - o)),
            ),
            -1,
        )
        return Pulled(d_sums, d_sums, None, (d_c * f,))


class Gru:
    """Gates r, z, n; the state h."""

    states = 1

    def step(self, x: Symbol, h: Symbol, states: Symbols) -> Step:
        """The next states."""
        (x_r, x_z, x_n), (h_r, h_z, h_n) = _parts(x, 3), _parts(h, 3)
        r, z = (x_r + h_r).emit("Sigmoid"), (x_z + h_z).emit("Sigmoid")
        n = (x_n + r * h_n).emit("Tanh")
        return Step((z.emit("Fma", states[0] - n, n),), (r, z, n, h_n))

    def pull(self, step: Step, before: Symbols, d: Symbols) -> Pulled:
        """Gradients of one step."""
        r, z, n, h_n = step.kept
        d_n = d[0] * (1.0 - z) * (1.0 - n * n)
        d_z = d[0] * (before[0] - n) * (z * (1.0 - z))
        d_r = d_n * h_n * (r * (1.0 - r))
        return Pulled(_joined((d_r, d_z, d_n), -1), _joined((d_r, d_z, d_n * r), -1), d[0] * z)


@dataclass(frozen=True, slots=True)
class Rnn:
    """One gate: tanh, or what is above 0."""

    tanh: bool
    states = 1

    def step(self, x: Symbol, h: Symbol, states: Symbols) -> Step:
        """The next states."""
        del states
        total = x + h
        return Step((total.emit("Tanh") if self.tanh else total.emit("Max", 0.0),), ())

    def pull(self, step: Step, before: Symbols, d: Symbols) -> Pulled:
        """Gradients of one step."""
        del before
        (h,) = step.states
        if self.tanh:
            d_sum = d[0] * (1.0 - h * h)
        else:
            d_sum = (h > 0.0).emit("Where", d[0], d[0].scalar(0.0))
        return Pulled(d_sum, d_sum)


def stacked_type(
    gates: int,
    x: TensorType,
    first: tuple[TensorType, ...],
    weights: tuple[TensorType, ...],
    *,
    hidden: int,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    bias: bool,
) -> Types:
    """Result types of a recurrent instruction. Raises VerifyError."""
    if x.rank != 3 or hidden < 1 or layers < 1:
        raise VerifyError(f"{x}, {hidden} hidden, {layers} layers: expected three axes, at least 1")
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    if not 1 <= steps <= STEPS_MAX:
        raise VerifyError(f"{x} has {steps} steps, expected 1 to {STEPS_MAX}")
    directions, per = 1 + bidirectional, 4 if bias else 2
    state = x.with_shape(layers * directions, batch, hidden)
    for each in first:
        if each != state:
            raise VerifyError(f"first state is {each}, expected {state}")
    if len(weights) != layers * directions * per:
        raise VerifyError(f"{len(weights)} weights, expected {layers * directions * per}")
    same_dtype(x, *weights)
    features = x.shape[2]
    for index, each in enumerate(weights):
        inner = features if index < directions * per else hidden * directions
        rows = gates * hidden
        shape = ((rows, inner), (rows, hidden), (rows,), (rows,))[index % per]
        if each.shape != shape:
            raise VerifyError(f"weight {index} is {each}, expected {x.with_shape(*shape)}")
    y = x.with_shape(*x.shape[:2], hidden * directions)
    return (y, *(state for _ in first))


@dataclass(frozen=True, slots=True)
class _Run:
    """One layer in one direction, as it was run: steps by ascending t."""

    x: Symbol
    weights: Symbols
    first: Symbols
    steps: list[Step]
    reverse: bool

    def before(self, t: int) -> Symbols:
        """States that step t started from."""
        place = t + 1 if self.reverse else t - 1
        return self.steps[place].states if 0 <= place < len(self.steps) else self.first

    @property
    def order(self) -> list[int]:
        """Steps in the order in which they were run."""
        order = list(range(len(self.steps)))
        return order[::-1] if self.reverse else order

    @property
    def last(self) -> Symbols:
        """States after the last step."""
        return self.steps[self.order[-1]].states


def _stack(parts: Sequence[Symbol]) -> Symbol:
    return _joined([each.reshape(1, *each.shape) for each in parts], 0)


def _swapped(x: Symbol, call: Call) -> Symbol:
    return x.permute(1, 0, 2) if call.attributes["batch_first"] else x


def _run(cell: Cell, x: Symbol, first: Symbols, weights: Symbols, reverse: bool) -> _Run:
    w_ih, w_hh, *biases = weights
    products = x.emit("Linear", w_ih, *biases[:1])
    count = x.shape[0]
    steps: dict[int, Step] = {}
    states = first
    for t in reversed(range(count)) if reverse else range(count):
        h = states[0].emit("Linear", w_hh, *biases[1:])
        steps[t] = cell.step(products.emit("Select", axis=0, index=t), h, states)
        states = steps[t].states
    return _Run(x, weights, first, [steps[t] for t in range(count)], reverse)


def _runs(cell: Cell, call: Call) -> tuple[list[_Run], Symbol]:
    """Run every layer and direction; also give the last layer's outputs, steps first."""
    per = 4 if call.attributes["bias"] else 2
    directions = 1 + bool(call.attributes["bidirectional"])
    count = cell.states
    operands = [each for each in call.operands if each is not None]
    first, weights = operands[1 : 1 + count], operands[1 + count :]
    y, runs = _swapped(call[0], call), list[_Run]()
    for layer in range(int(call.attributes["layers"])):
        sides: list[Symbol] = []
        for direction in range(directions):
            at = layer * directions + direction
            states = tuple(each.emit("Select", axis=0, index=at) for each in first)
            own = tuple(weights[at * per : at * per + per])
            runs.append(_run(cell, y, states, own, direction == 1))
            sides.append(_stack([step.states[0] for step in runs[-1].steps]))
        y = _joined(sides, -1)
    return runs, y


def run_layers(cell: Cell, call: Call) -> Symbols:
    """Lowering of a recurrent instruction: outputs of all steps, then each last state."""
    runs, y = _runs(cell, call)
    last = zip(*(run.last for run in runs), strict=True)
    return (_swapped(y, call), *(_stack(each) for each in last))


def layers_gradient(cell: Cell, call: Call) -> Gradients:
    """Backpropagation through time, last layer first."""
    runs, _ = _runs(cell, call)
    count, directions = cell.states, 1 + bool(call.attributes["bidirectional"])
    hidden = int(call.attributes["hidden"])
    d_y = _swapped(call.d, call)
    d_first: dict[int, Symbols] = {}
    d_weights: dict[int, Symbols] = {}
    for layer in reversed(range(int(call.attributes["layers"]))):
        d_inputs: list[Symbol] = []
        for direction in range(directions):
            at = layer * directions + direction
            d_last = tuple(
                call.d_of(1 + index).emit("Select", axis=0, index=at) for index in range(count)
            )
            part = d_y[:, :, direction * hidden : (direction + 1) * hidden]
            d_input, d_first[at], d_weights[at] = _pull(cell, runs[at], part, d_last)
            d_inputs.append(d_input)
        d_y = d_inputs[0] if directions == 1 else d_inputs[0] + d_inputs[1]
    firsts = zip(*(d_first[at] for at in range(len(runs))), strict=True)
    flat = [each for at in range(len(runs)) for each in d_weights[at]]
    return (_swapped(d_y, call), *(_stack(each) for each in firsts), *flat)


def _pull(cell: Cell, run: _Run, d_y: Symbol, d_last: Symbols) -> tuple[Symbol, Symbols, Symbols]:
    """Gradients of a run's input, of its first states and of its weights."""
    w_ih, w_hh = run.weights[:2]
    d, d_products, d_own = d_last, dict[int, Symbol](), dict[int, Symbol]()
    for t in reversed(run.order):
        d = (d_y.emit("Select", axis=0, index=t) + d[0], *d[1:])
        pulled = cell.pull(run.steps[t], run.before(t), d)
        d_products[t], d_own[t] = pulled.x, pulled.h
        through = pulled.h @ w_hh
        d = (through if pulled.direct is None else pulled.direct + through, *pulled.others)
    count = len(run.steps)
    rows = [_rows(_stack([each[t] for t in range(count)])) for each in (d_products, d_own)]
    before = _rows(_stack([run.before(t)[0] for t in range(count)]))
    d_input = (rows[0] @ w_ih).reshape(*run.x.shape)
    d_weights = [rows[0].transpose() @ _rows(run.x), rows[1].transpose() @ before]
    biases = [each.sum(0) for each in rows] if len(run.weights) > 2 else []
    return d_input, d, (*d_weights, *biases)


def _rows(x: Symbol) -> Symbol:
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])
