"""From the forward pass of a model to one step of its training, as one Program.

The step computes the loss, its gradients, and the next value of every parameter and of the
optimizer's state, which are parameters too: outputs of the same names are their next values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import instruction_set
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

LEARNING_RATE = "learning_rate"


@dataclass(frozen=True, slots=True)
class State:
    """A value that an optimizer keeps from step to step."""

    name: str
    type: TensorType
    first: float
    """What every element starts at."""


@runtime_checkable
class Optimizer(Protocol):
    """Writes the update of one parameter, and says what state it keeps."""

    def shared(self) -> Sequence[State]:
        """State of the whole step."""
        ...

    def own(self, name: str, type_: TensorType) -> Sequence[State]:
        """State of one parameter."""
        ...

    def advance(self, builder: Builder, shared: Sequence[Symbol]) -> Sequence[Symbol]:
        """This step's shared state, once a step."""
        ...

    def update(
        self,
        parameter: Symbol,
        gradient: Symbol,
        own: Sequence[Symbol],
        shared: Sequence[Symbol],
        learning_rate: Symbol,
    ) -> Sequence[Symbol]:
        """The next parameter, then its next state."""
        ...


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam; with `decoupled` weight decay AdamW. Source: arXiv:1711.05101.

    The learning rate is no setting: each step has it as the input `learning_rate`.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    decoupled: bool = True

    def __post_init__(self) -> None:
        """Raise InputError for what is no setting of Adam."""
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                found = getattr(self, name)
                raise InputError(f"{name}: found {found}, expected a number from 0 to below 1")
        _require_not_negative(eps=self.eps, weight_decay=self.weight_decay)

    def shared(self) -> Sequence[State]:
        """Running powers of both betas."""
        scalar = TensorType(DType.float64)
        return (State("adam.beta1_power", scalar, 1.0), State("adam.beta2_power", scalar, 1.0))

    def own(self, name: str, type_: TensorType) -> Sequence[State]:
        """First and second moment."""
        return (State(f"adam.m.{name}", type_, 0.0), State(f"adam.v.{name}", type_, 0.0))

    def advance(self, builder: Builder, shared: Sequence[Symbol]) -> Sequence[Symbol]:
        """The powers of this step."""
        return builder.emit("AdamPowers", shared, {"beta1": self.beta1, "beta2": self.beta2})

    def update(
        self,
        parameter: Symbol,
        gradient: Symbol,
        own: Sequence[Symbol],
        shared: Sequence[Symbol],
        learning_rate: Symbol,
    ) -> Sequence[Symbol]:
        """One `AdamStep`."""
        operands = (parameter, gradient, *own, *shared, learning_rate)
        attributes = {
            "beta1": self.beta1,
            "beta2": self.beta2,
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            "decoupled": self.decoupled,
        }
        return parameter.builder.emit("AdamStep", operands, attributes)


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent, with momentum or Nesterov's. Source: `torch.optim.SGD`.

    The learning rate is an input, as of `AdamW`.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Raise InputError for what is no setting of SGD."""
        _require_not_negative(momentum=self.momentum, weight_decay=self.weight_decay)
        if self.nesterov and self.momentum == 0.0:
            raise InputError("nesterov: it needs a momentum above 0")

    def shared(self) -> Sequence[State]:
        """None."""
        return ()

    def own(self, name: str, type_: TensorType) -> Sequence[State]:
        """The momentum's running sum."""
        return (State(f"sgd.m.{name}", type_, 0.0),)

    def advance(self, builder: Builder, shared: Sequence[Symbol]) -> Sequence[Symbol]:
        """Nothing to advance."""
        del builder
        return shared

    def update(
        self,
        parameter: Symbol,
        gradient: Symbol,
        own: Sequence[Symbol],
        shared: Sequence[Symbol],
        learning_rate: Symbol,
    ) -> Sequence[Symbol]:
        """One `SgdStep`."""
        del shared
        attributes = {
            "momentum": self.momentum,
            "dampening": 0.0,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }
        operands = (parameter, gradient, *own, learning_rate)
        return parameter.builder.emit("SgdStep", operands, attributes)


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """A step and what its state starts at, by name."""

    program: VerifiedProgram
    first_state: dict[str, Array]


def training_step(
    forward: VerifiedProgram,
    optimizer: Optimizer,
    *,
    loss: str = "loss",
    max_norm: float | None = None,
) -> TrainingStep:
    """Add gradients, clipping to a common norm and an optimizer's update to a forward pass.

    Trained is every float parameter for which the forward pass has no next value of its own (as
    it has for running statistics). The learning rate is a new input, `learning_rate: float32[]`.

    Raises
    ------
    InputError
        It is no verified program or no optimizer; or there is no such loss, nothing to train, or
        a name is taken.
    VerifyError
        The loss is not a float scalar, or an instruction on the way has no gradient.
    """
    _check_arguments(forward, optimizer)
    program = forward.program
    if loss not in dict(program.outputs):
        there = ", ".join(name for name, _ in program.outputs)
        raise InputError(f"the program has no output {loss!r}; it has {there}")
    trained = [
        port
        for port in program.parameters
        if port.type.dtype.is_float and port.name not in dict(program.outputs)
    ]
    if not trained:
        raise InputError("the program has no float parameter to train")
    states = [*optimizer.shared()]
    for port in trained:
        states += optimizer.own(port.name, port.type)
    _refuse_taken(forward, [LEARNING_RATE, *(state.name for state in states)])
    builder, values, known, rate = _copy(forward, states)
    outputs = {name: values[value] for name, value in program.outputs}
    found = gradients(outputs[loss], [known[port.name] for port in trained])
    if max_norm is not None:
        found = builder.emit("ClipNorm", found, {"max_norm": max_norm})
    shared = optimizer.advance(builder, [known[state.name] for state in optimizer.shared()])
    names = [state.name for state in optimizer.shared()]
    outputs |= dict(zip(names, shared, strict=True))
    for port, gradient in zip(trained, found, strict=True):
        own = [state.name for state in optimizer.own(port.name, port.type)]
        results = optimizer.update(
            known[port.name], gradient, [known[name] for name in own], shared, rate
        )
        outputs |= dict(zip([port.name, *own], results, strict=True))
    first = {
        state.name: np.full(state.type.shape, state.first, state.type.dtype.numpy)
        for state in states
    }
    return TrainingStep(builder.finish(**outputs), first)


def _require_not_negative(**settings: float) -> None:
    for name, value in settings.items():
        if not 0.0 <= value < float("inf"):
            raise InputError(f"{name}: found {value}, expected a number from 0")


def _check_arguments(forward: object, optimizer: object) -> None:
    """Name the mistakes that are easy to make: a program's bare list, an optimizer of PyTorch's."""
    if not isinstance(forward, VerifiedProgram):
        found = type(forward).__name__
        raise InputError(
            f"forward: found {found}, expected a VerifiedProgram",
            hint="program, parameters = bcai.from_torch(...) gives one; verify(program) makes one",
        )
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
        found = _kind(optimizer)
        expected = "bcai.AdamW(...), bcai.Sgd(...) or their protocol"
        raise InputError(f"optimizer: found {found}, expected {expected}")


def _kind(value: object) -> str:
    """Its class with the module that it is from, such as `torch.optim.Adam`."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__name__
    module, _, last = kind.__module__.rpartition(".")
    is_reexported = bool(module) and last == kind.__name__.lower()  # as `torch.optim.adam.Adam` is
    return f"{module if is_reexported else kind.__module__}.{kind.__name__}"


def _refuse_taken(forward: VerifiedProgram, names: Sequence[str]) -> None:
    taken = {port.name for port in forward.program.ports} | set(dict(forward.program.outputs))
    for name in names:
        if name in taken:
            raise InputError(f"the program already has a {name!r}, which the training step needs")


def _copy(
    forward: VerifiedProgram, states: Sequence[State]
) -> tuple[Builder, list[Symbol], dict[str, Symbol], Symbol]:
    """The forward pass in a new builder with more ports: its values, all parameters, the rate."""
    program = forward.program
    builder = Builder(instruction_set(program.isa_version))
    builder.metadata.update(program.metadata)
    values = [builder.input(port.name, port.type) for port in program.inputs]
    rate = builder.input(LEARNING_RATE, TensorType(DType.float32))
    values += [builder.parameter(port.name, port.type) for port in program.parameters]
    ports = program.ports
    known = {port.name: value for port, value in zip(ports, values, strict=True)}
    known |= {state.name: builder.parameter(state.name, state.type) for state in states}
    for instruction in program.instructions:
        operands = [None if each is None else values[each] for each in instruction.operands]
        values += builder.emit(instruction.op.name, operands, instruction.attributes)
    return builder, values, known, rate
