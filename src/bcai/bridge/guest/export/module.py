"""A PyTorch module as a Program, and its parameters as arrays."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Node
from torch.utils import _pytree as pytree

from bcai.base.errors import InputError
from bcai.bridge.guest.export.capture import capture
from bcai.bridge.guest.export.graph import Environment, Writer, needs_draws
from bcai.bridge.guest.export.loss import PREFIX, Loss, ModuleWithLoss
from bcai.bridge.guest.export.site import Draws
from bcai.bridge.guest.export.types import UnsupportedError, to_array, type_of
from bcai.vm.compiler.simplify import simplify
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

Inputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]


class Exported(NamedTuple):
    """A program, and the values that its parameters have in the module now."""

    program: VerifiedProgram
    parameters: dict[str, Array]

    def __repr__(self) -> str:
        """Sum it up: the parameters of a model would fill the screen."""
        count = sum(each.size for each in self.parameters.values())
        return f"Exported({self.program!r}, {len(self.parameters)} parameters of {count:,} numbers)"


def export(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    loss: Loss | None = None,
    train: bool | None = None,
) -> Exported:
    """Write a module as a Program.

    Parameters and buffers become parameters under their qualified names (`linear.weight`; tied ones
    once, under the first name), inputs keep their argument's name, and the result is `output`, or
    `output0`, `output1`, ... A buffer that the module changes is an output of its own name. A
    module that draws random numbers gets two more inputs, `int64[]` each: `seed` and `step`.

    Parameters
    ----------
    example_inputs
        Arguments of `forward`: a tensor, a tuple, or a mapping by name. Their shapes are the
        program's. With `loss` the last one (of a mapping: `target`) is the target.
    loss
        A function or module of (output, target), or a name such as `cross_entropy`. The program
        then ends in the scalar `loss`.
    train
        Training or evaluation mode; None leaves the module as it is.

    Raises
    ------
    InputError
        torch cannot export the module, or it uses operations that the instruction set does not
        have: the message names each with the line of the model.
    """
    call = _bind(module, example_inputs, has_target=loss is not None)
    whole = module if loss is None else ModuleWithLoss(module, loss)
    modes = {each: each.training for each in module.modules()}
    try:
        if train is not None:
            whole.train(train)
        exported = capture(whole, call.args, call.kwargs)
    finally:
        for each, was_training in modes.items():
            each.training = was_training
    return _write(exported, whole, call, "output" if loss is None else "loss")


class _Call(NamedTuple):
    """Arguments in the order of the signature, and the names of their leaves in torch's order."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: list[str]
    targets: int
    """How many of the leaves are the target's; they come first, and are the last inputs."""


def _bind(module: nn.Module, inputs: Inputs, *, has_target: bool) -> _Call:
    if not isinstance(cast("object", module), nn.Module):
        raise InputError(f"module: found {module!r}, expected a torch.nn.Module")
    args, kwargs = _given(inputs)
    target: list[Any] = []
    if has_target:
        if "target" not in kwargs and len(args) < 2:
            where = "under the name 'target'" if kwargs else "as the last one"
            raise InputError(f"a loss needs a target: add it to example_inputs {where}")
        target = [kwargs.pop("target") if kwargs else args.pop()]
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(f"example_inputs do not fit {type(module).__name__}: {error}") from error
    names = _leaf_names("target", target[0]) if target else []
    targets = len(names)
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            for key, each in cast("dict[str, Any]", value).items():
                names += _leaf_names(key, each)
        else:
            names += _leaf_names(name, value)
    return _Call((*target, *bound.args), dict(bound.kwargs), names, targets)


def _given(inputs: Inputs) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by place and by name."""
    if isinstance(inputs, Mapping):
        return [], dict(inputs)
    if isinstance(inputs, torch.Tensor):
        return [inputs], {}
    if isinstance(cast("object", inputs), Sequence) and not isinstance(inputs, str):
        return list(inputs), {}
    kind = type(inputs).__name__
    raise InputError(f"example_inputs: found {kind}, expected a tensor, a tuple or a mapping")


def _leaf_names(name: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple, dict)):
        return [name]
    return [f"{name}{index}" for index in range(len(pytree.tree_leaves(value)))]


def _write(exported: ExportedProgram, whole: nn.Module, call: _Call, result: str) -> Exported:
    """Write an exported graph, named as the module names things."""
    builder, draws = Builder(), Draws()
    environment: Environment = {}
    ports = _Ports(exported, whole, builder, environment)
    ports.write_inputs(call)
    if needs_draws(exported.graph_module):
        draws.seed, draws.step = (builder.input(name, "int64[]") for name in ("seed", "step"))
    values = ports.write_parameters()
    writer = Writer(builder, draws)
    results = writer.write(exported.graph_module, environment)
    writer.check()
    outputs = _outputs(exported, whole, results, result)
    return Exported(simplify(builder.finish(**outputs)), values)


class _Ports:
    """Writes what a graph's placeholders stand for."""

    def __init__(
        self,
        exported: ExportedProgram,
        whole: nn.Module,
        builder: Builder,
        environment: Environment,
    ) -> None:
        nodes = [each for each in exported.graph.nodes if each.op == "placeholder"]
        self._specs = list(zip(nodes, exported.graph_signature.input_specs, strict=True))
        self._exported = exported
        self._whole = whole
        self._builder = builder
        self._environment = environment
        self._inputs: set[str] = set()

    def write_inputs(self, call: _Call) -> None:
        """Declare the tensors among the arguments of `forward`."""
        inputs = [pair for pair in self._specs if pair[1].kind is InputKind.USER_INPUT]
        named = list(zip(inputs, call.names, strict=True))
        for (node, spec), name in named[call.targets :] + named[: call.targets]:
            if isinstance(spec.arg, TensorArgument):
                self._inputs.add(name)
                self._environment[node] = self._builder.input(name, _port_type(node, name))
            else:
                self._environment[node] = getattr(spec.arg, "value", None)

    def write_parameters(self) -> dict[str, Array]:
        """Declare parameters and buffers, then write constants; return the parameters' values."""
        values: dict[str, Array] = {}
        symbols: dict[str, Symbol] = {}
        for node, spec in self._specs:
            if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER):
                continue
            name = owner_of(self._whole, str(spec.target))
            if name in self._inputs:
                raise InputError(
                    f"forward has an argument {name!r}, and the module a parameter of that name",
                    hint="rename one of them: in a program a name stands for one value",
                )
            if name not in symbols:
                symbols[name] = self._builder.parameter(name, _port_type(node, name))
                values[name] = to_array(find(self._whole, str(spec.target)))
            self._environment[node] = symbols[name]
        for node, spec in self._specs:
            if spec.kind is InputKind.TOKEN:  # of a call with effects, which has no rule
                self._environment[node] = None
            if spec.kind is InputKind.CONSTANT_TENSOR:
                constant = self._exported.constants[str(spec.target)]
                self._environment[node] = self._builder.constant(
                    to_array(cast("torch.Tensor", constant))
                )
        return values


def _port_type(node: Node, name: str) -> TensorType:
    try:
        return type_of(node.meta["val"])
    except UnsupportedError as reason:
        raise InputError(f"{name}: {reason} have no place in the instruction set") from reason


def find(whole: nn.Module, target: str) -> torch.Tensor:
    """The parameter or buffer of a qualified name."""
    found: Any = whole
    for part in target.split("."):
        found = getattr(found, part)
    return found


def owner_of(whole: nn.Module, target: str) -> str:
    """First qualified name of what may have several (tied weights), as the user's module has it."""
    tensor = find(whole, target)
    named = [*whole.named_parameters(), *whole.named_buffers()]
    first = next((name for name, each in named if each is tensor), target)
    return first.removeprefix(PREFIX) if isinstance(whole, ModuleWithLoss) else first


def _outputs(
    exported: ExportedProgram, whole: nn.Module, results: list[Any], name: str
) -> dict[str, Symbol]:
    """Results by name: what `forward` returns, then the next values of buffers."""
    specs = exported.graph_signature.output_specs
    given: list[Any] = []
    changed: dict[str, Symbol] = {}
    for spec, value in zip(specs, results, strict=True):
        if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION):
            changed[owner_of(whole, str(spec.target))] = value
        elif spec.kind is OutputKind.USER_INPUT_MUTATION:
            raise InputError(f"the model writes to its own input {spec.target}")
        else:
            given.append(value)
    named = _result_names(exported, given, name)
    if not named:
        raise InputError("the model returns no tensor")
    for twice in named.keys() & changed.keys():
        raise InputError(f"the model changes its buffer {twice!r}, and has a result of that name")
    return named | changed


def _result_names(exported: ExportedProgram, given: list[Any], name: str) -> dict[str, Symbol]:
    structure = pytree.tree_unflatten(given, cast("Any", exported.call_spec.out_spec))
    if isinstance(structure, Mapping):
        pairs = [
            (str(key) if len(leaves) == 1 else f"{key}{index}", leaf)
            for key, value in cast("Mapping[object, Any]", structure).items()
            for leaves in [pytree.tree_leaves(value)]
            for index, leaf in enumerate(leaves)
            if isinstance(leaf, Symbol)
        ]
        for twice, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise InputError(f"the model has {count} results of the name {twice!r}")
        return dict(pairs)
    tensors = [each for each in given if isinstance(each, Symbol)]
    if len(tensors) == 1:
        return {name: tensors[0]}
    return {f"{name}{index}": each for index, each in enumerate(tensors)}
