"""Walk an exported graph and write it as instructions."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch.fx import GraphModule, Node

from bcai.base.errors import InputError, VerifyError
from bcai.bridge.guest.export.random import draws_any
from bcai.bridge.guest.export.site import Draws, Site
from bcai.bridge.guest.export.source import code_of, place_of
from bcai.bridge.guest.export.table import RULES
from bcai.bridge.guest.export.types import UnsupportedError, to_array, type_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.program.builder import Builder

PLACES_ONLY = frozenset(
    {"device", "layout", "pin_memory", "memory_format", "generator", "non_blocking", "dtype"}
)
"""Keyword arguments that no rule needs: where a tensor lies, and the type that is known anyway."""

SHOWN_MAX = 50
"""Refused calls that a message lists."""


class _Unknown:
    """Result of a call that has no rule: what depends on it is not looked at closely."""


UNKNOWN = _Unknown()
Environment = dict[Node, Any]


def needs_draws(graph_module: GraphModule) -> bool:
    """Whether any call takes random numbers."""
    return any(
        draws_any(node) for node in graph_module.graph.nodes if node.op == "call_function"
    ) or any(needs_draws(each) for each in graph_module.children() if isinstance(each, GraphModule))


class Writer:
    """Writes graphs to one builder, and collects what it cannot write."""

    def __init__(self, builder: Builder, draws: Draws) -> None:
        self.builder = builder
        self.draws = draws
        self.refusals: list[str] = []

    def write(self, graph_module: GraphModule, environment: Environment) -> list[Any]:
        """Write the calls of a graph whose placeholders are known; return its results."""
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                environment[node] = self._attribute(graph_module, str(node.target))
            elif node.op == "call_function":
                environment[node] = self._call(node, environment)
            elif node.op == "output":
                return list(_lookup(node.args[0], environment))
        return []

    def check(self) -> None:
        """Raise InputError if anything was refused, naming all of it."""
        if not self.refusals:
            return
        unique = list(dict.fromkeys(self.refusals))
        count = f"{len(unique)} operations" if len(unique) > 1 else "an operation"
        listed = "\n".join(f"  {each}" for each in unique[:SHOWN_MAX])
        more = f"\n  and {len(unique) - SHOWN_MAX} more" if len(unique) > SHOWN_MAX else ""
        do_types_differ = any("element types differ" in each for each in unique)
        raise InputError(
            f"the model uses {count} that the instruction set cannot say:\n{listed}{more}",
            hint="give inputs and parameters one element type: x.float(), x.astype('float32')"
            if do_types_differ
            else "run the model as Python code in the jail, or write these lines otherwise",
        )

    def _attribute(self, graph_module: GraphModule, target: str) -> object:
        found: Any = graph_module
        for part in target.split("."):
            found = getattr(found, part)
        return self.builder.constant(to_array(found)) if isinstance(found, torch.Tensor) else found

    def _call(self, node: Node, environment: Environment) -> object:
        args = [_lookup(each, environment) for each in node.args]
        kwargs = {name: _lookup(each, environment) for name, each in node.kwargs.items()}
        is_known = not _holds_unknown(args) and not _holds_unknown(kwargs)
        if node.target is operator.getitem:
            return args[0][args[1]] if is_known else UNKNOWN
        if str(node.target).startswith("wrap_with_"):  # inlined: gradients are stopped elsewhere
            first = next(i for i, each in enumerate(args) if isinstance(each, GraphModule))
            return self._inline(args[first], args[first + 1 :])
        try:
            rule = RULES.get(str(node.target))
            if not is_known and (rule is not None or _counts_shapes(node)):
                return UNKNOWN
            if rule is None:
                raise UnsupportedError("")
            given = {name: each for name, each in kwargs.items() if name not in PLACES_ONLY}
            result = rule(Site(self.builder, node, self.draws), *args, **given)
            _check_types(node, result)
        except (UnsupportedError, VerifyError) as reason:
            self.refusals.append(_refusal(node, str(reason)))
            return UNKNOWN
        return result

    def _inline(self, graph_module: GraphModule, args: list[Any]) -> object:
        placeholders = [each for each in graph_module.graph.nodes if each.op == "placeholder"]
        return self.write(graph_module, dict(zip(placeholders, args, strict=True)))


def _lookup(argument: Any, environment: Mapping[Node, Any]) -> Any:
    """Put values in the place of nodes, through lists and tuples."""
    if isinstance(argument, Node):
        return environment[argument]
    if isinstance(argument, (list, tuple)):
        return [_lookup(each, environment) for each in cast("Sequence[Any]", argument)]
    return argument


def _holds_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_unknown(each) for each in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return any(_holds_unknown(each) for each in cast("list[Any]", value))
    return value is UNKNOWN


def _counts_shapes(node: Node) -> bool:
    """Whether a call only follows from a shape that was refused already."""
    return "." not in str(node.target) or "sym_" in str(node.target)


def _check_types(node: Node, result: object) -> None:
    """Hold results against what torch found. Raises UnsupportedError."""
    expected = node.meta.get("val")
    is_one = isinstance(result, Symbol) or result is None
    results = [result] if is_one else cast("Sequence[Symbol | None]", result)
    values = [expected] if is_one else cast("Sequence[object]", expected)
    for each, value in zip(results, values, strict=False):
        if isinstance(each, Symbol) and isinstance(value, torch.Tensor):
            wanted = type_of(value)
            if each.type != wanted:
                raise UnsupportedError(f"these arguments: found {each.type}, expected {wanted}")


def _refusal(node: Node, reason: str) -> str:
    place, code = place_of(node), code_of(node)
    name = node.args[1] if str(node.target) == "with_effects" else node.target
    text = f"{place}: {name}" if place else str(name)
    text = f"{text} ({code})" if code else text
    return f"{text}: {reason}" if reason else text
