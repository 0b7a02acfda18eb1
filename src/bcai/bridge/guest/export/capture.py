"""From a module to torch's exported graph, with the operations that the table knows kept whole."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

import torch
from torch._decomp import (
    get_decompositions,  # pyright: ignore[reportUnknownVariableType]
)
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from bcai.base.errors import InputError
from bcai.bridge.guest.export.source import place_of_error
from bcai.bridge.guest.export.table import RULES

DECOMPOSED = frozenset(
    {
        # Functionalisation needs their own decompositions: they write to buffers or alias.
        "aten.native_dropout.default",
        "aten.dropout.default",
    }
)

_WRITTEN_OUT: list[Any] = [torch.ops.aten.grid_sampler_2d.default]
"""What torch keeps whole, and can say by operations that the table knows."""

_LOGS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


def capture(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> ExportedProgram:
    """Run `torch.export` and decompose what the table does not know.

    Raises
    ------
    InputError
        torch cannot export the module; the message has torch's reason.
    """
    with _quiet(), _plain_attention():
        try:
            exported = torch.export.export(module, tuple(args), dict(kwargs))
            _mark_no_grad(exported.graph_module)
            decomposed = cast("Any", exported).run_decompositions(_decompositions())
            return cast("ExportedProgram", decomposed)
        except InputError:
            raise
        except Exception as error:
            reason, *_ = str(error).strip().splitlines() or [""]
            place = place_of_error(error)
            raise InputError(
                f"torch.export cannot trace the model{f' at {place}' if place else ''}: "
                f"{type(error).__name__}: {reason.rstrip('.')}; "
                f"it was given {_described(args, kwargs)}",
                hint="do the inputs fit the model? its forward pass must not branch on tensor "
                "values; shapes are static",
            ) from error


def _described(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Element types and shapes of the tensors among the arguments; a target stands first."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    types = [f"{str(each.dtype).removeprefix('torch.')}{list(each.shape)}" for each in tensors]
    return ", ".join(types) or "no tensor"


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """No warnings, and nothing in torch's log or on stderr of what is raised as an error anyway."""
    logs = [logging.getLogger(name) for name in _LOGS]
    were_disabled = [log.disabled for log in logs]
    printed = io.StringIO()
    try:
        for log in logs:
            log.disabled = True
        with warnings.catch_warnings(), contextlib.redirect_stderr(printed):
            warnings.simplefilter("ignore")
            yield
        sys.stderr.write(printed.getvalue())  # the model's own
    finally:
        for log, was_disabled in zip(logs, were_disabled, strict=True):
            log.disabled = was_disabled


@contextlib.contextmanager
def _plain_attention() -> Generator[None]:
    """Fused kernels of evaluation mode are opaque: trace what they fuse."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _decompositions() -> Any:
    table = cast("Any", torch.export.default_decompositions())
    table.update(get_decompositions(_WRITTEN_OUT))
    for op in list(table):
        if str(op) in RULES and str(op) not in DECOMPOSED:
            del table[op]
    return table


def _mark_no_grad(graph_module: GraphModule) -> None:
    """Detach the results of `torch.no_grad()` regions, which decomposition inlines."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and _is_no_grad(node):
            for result in _tensors(node):
                users = list(result.users)
                with graph.inserting_after(result):
                    detached = graph.call_function(torch.ops.aten.detach.default, (result,))
                    detached.meta.update(result.meta)
                for user in users:
                    user.replace_input_with(result, detached)
    graph_module.recompile()


def _is_no_grad(node: Node) -> bool:
    return str(node.target) == "wrap_with_set_grad_enabled" and node.args[0] is False


def _tensors(node: Node) -> list[Node]:
    """The nodes that hold a region's results."""
    several = isinstance(node.meta.get("val"), (tuple, list))
    results = list(node.users) if several else [node]
    return [each for each in results if isinstance(each.meta.get("val"), torch.Tensor)]
