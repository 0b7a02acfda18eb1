"""Samples of torch's OpInfo database, exported and held against torch."""

import contextlib
import itertools
import math
import random
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from tests.conformance.torch.gradients import distance, run, weigh, with_gradients
from torch.testing._internal.common_methods_invocations import (
    op_db,
)
from torch.utils import _pytree as pytree

from bcai.base.errors import BcaiError
from bcai.bridge.guest.export import export
from bcai.bridge.guest.export.types import to_array

SAMPLES_MAX = 5
"""Samples of one entry that are looked at: the first small ones."""

ELEMENTS_MAX = 2000
"""Elements of a sample's inputs, all together: the reference backend is slow."""

RTOL = {torch.float32: 1e-4, torch.float64: 1e-7}
"""Of the largest magnitude; results of float32 forward, gradients of float64."""

UNFIT = {
    "empty": "uninitialised memory",
    "empty_like": "uninitialised memory",
    "empty_permuted": "uninitialised memory",
    "empty_strided": "uninitialised memory",
    "new_empty": "uninitialised memory",
    "new_empty_strided": "uninitialised memory",
    "nn.functional.dropout": "random numbers",
    "nn.functional.dropout2d": "random numbers",
    "nn.functional.dropout3d": "random numbers",
    "nn.functional.alpha_dropout": "random numbers",
    "nn.functional.feature_alpha_dropout.with_train": "random numbers",
    "nn.functional.rrelu": "random numbers",
    "nn.functional.multi_head_attention_forward": "random numbers",
    "bernoulli": "random numbers",
    "multinomial": "random numbers",
    "normal": "random numbers",
    "normal.in_place": "random numbers",
    "normal.number_mean": "random numbers",
    "uniform": "random numbers",
    "rand_like": "random numbers",
    "randn": "random numbers",
    "randn_like": "random numbers",
    "randint": "random numbers",
    "randint_like": "random numbers",
    "cauchy": "random numbers",
    "exponential": "random numbers",
    "geometric": "random numbers",
    "log_normal": "random numbers",
}
"""Entries whose results cannot be compared, and why."""


@dataclass(frozen=True)
class Sample:
    """One call: its tensors, and how to make it from them."""

    tensors: tuple[torch.Tensor, ...]
    call: Callable[..., Any]


class Calls(torch.nn.Module):
    """Several calls as one module, whose inputs are the tensors of all."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        remaining = iter(tensors)
        results: list[torch.Tensor] = []
        for sample in self.samples:
            taken = list(itertools.islice(remaining, len(sample.tensors)))
            leaves = pytree.tree_leaves(sample.call(taken))
            results += [each for each in leaves if isinstance(each, torch.Tensor)]
        return results


@cache
def entries() -> dict[str, Any]:
    """OpInfo entries by name and variant."""
    return {
        f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name: op for op in op_db
    }


def samples(name: str, dtype: torch.dtype) -> list[Sample]:
    """The first small samples of an entry; the same ones whenever it is asked."""
    op = entries()[name]
    if dtype not in op.dtypes:
        return []
    cast("Any", torch).manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # some generators of samples read it
    with _plain():
        drawn: list[Any] = list(
            itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=False), 25)
        )
    small = [_sample(op, each) for each in drawn]
    fits = [s for s in small if sum(t.numel() for t in s.tensors) <= ELEMENTS_MAX]
    return fits[:SAMPLES_MAX]


def _sample(op: Any, drawn: Any) -> Sample:
    leaves, spec = pytree.tree_flatten((drawn.input, drawn.args, drawn.kwargs))
    kept = [None if isinstance(each, torch.Tensor) else each for each in leaves]
    where = [i for i, each in enumerate(leaves) if isinstance(each, torch.Tensor)]

    def call(tensors: Sequence[torch.Tensor]) -> Any:
        filled = list(kept)
        for index, tensor in zip(where, tensors, strict=True):
            filled[index] = tensor
        first, args, kwargs = pytree.tree_unflatten(filled, spec)
        return op.op(first, *args, **kwargs)

    return Sample(tuple(leaves[i].detach().clone() for i in where), call)


@contextlib.contextmanager
def _plain() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def forward_error(chosen: Sequence[Sample]) -> str:
    """Why the exported calls do not compute what torch does; empty if they do."""
    module, tensors = Calls(chosen), [each for sample in chosen for each in sample.tensors]
    with _plain(), torch.no_grad():
        expected = module(*(each.clone() for each in tensors))
        program, values = export(module, tensors)
        found = run(program, _named(tensors) | values)
    dtype = torch.float64 if any(t.dtype is torch.float64 for t in tensors) else torch.float32
    return _compare([to_array(each) for each in expected], list(found.values()), RTOL[dtype])


def gradient_error(chosen: Sequence[Sample]) -> str:
    """Why gradients of the exported calls are not torch's; empty if they are."""
    module, tensors = Calls(chosen), [each for sample in chosen for each in sample.tensors]
    wrt = [index for index, each in enumerate(tensors) if each.is_floating_point()]
    inputs = [each.clone().requires_grad_(each.is_floating_point()) for each in tensors]
    with _plain():
        results = module(*inputs)
        expected, weights = _torch_gradients(results, [inputs[index] for index in wrt])
        if not weights or not wrt:
            return "no gradient"
        program, _ = export(module, tensors)
        names = [name for name, _ in program.program.outputs]
        weighed = weigh(program, {names[index]: each for index, each in weights.items()})
        found = run(with_gradients(weighed, [f"tensors{each}" for each in wrt]), _named(tensors))
    pulled = [found[f"d tensors{index}"] for index in wrt]
    return _compare(expected, pulled, RTOL[torch.float64])


def _torch_gradients(
    results: Sequence[torch.Tensor], wrt: Sequence[torch.Tensor]
) -> tuple[list[Any], dict[int, Any]]:
    """Gradients of the weighted sum of all float results, and the weights."""
    generator = torch.Generator().manual_seed(1)
    total: Any = 0.0
    weights: dict[int, Any] = {}
    for index, each in enumerate(results):
        if each.is_floating_point() and each.requires_grad:
            weight = torch.rand(each.shape, generator=generator, dtype=each.dtype) + 0.5
            weights[index] = weight.numpy()
            total = total + (each * weight).sum()
    if not weights or not wrt:
        return [], {}
    found = torch.autograd.grad(total, list(wrt), allow_unused=True, materialize_grads=True)
    return [each.detach().numpy() for each in found], weights


def _named(tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
    return {f"tensors{index}": to_array(each) for index, each in enumerate(tensors)}


def _compare(expected: Sequence[Any], found: Sequence[Any], rtol: float) -> str:
    if len(expected) != len(found):
        return f"{len(found)} results, expected {len(expected)}"
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
            return f"result {index} is {ours.dtype}{ours.shape}, not {theirs.dtype}{theirs.shape}"
        gap = distance(ours, theirs)
        if not gap <= rtol or math.isnan(gap):
            return f"result {index} is off by {gap:.1e}"
    return ""


def reason_of(check: Callable[[Sequence[Sample]], str], chosen: Sequence[Sample]) -> str:
    """A check's reason, with torch's and our own errors as reasons too."""
    try:
        return check(chosen)
    except BcaiError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a sweep over everything that torch has
        return f"{type(error).__name__}: {error}"
