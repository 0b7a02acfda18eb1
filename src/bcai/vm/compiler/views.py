"""View instructions, resolved: each gives values that lie in what is there already."""

from collections.abc import Callable, Mapping
from typing import Any

from bcai.vm.compiler.affine import (
    Affine,
    along,
    expanded,
    permuted,
    reshaped,
    without,
)
from bcai.vm.compiler.graph import Value
from bcai.vm.isa.attribute import Attribute

Attributes = Mapping[str, Any]
Maps = tuple[Affine, ...] | None
_Rule = Callable[[Affine, Attributes], Maps]


def view_of(name: str, x: Value, attributes: Mapping[str, Attribute]) -> tuple[Value, ...] | None:
    """Results of a view instruction; None for a `Reshape` that strides cannot say."""
    maps = VIEWS[name](x.map, attributes)
    return None if maps is None else tuple(Value(x.source, each) for each in maps)


def _same(x: Affine, at: Attributes) -> Maps:
    del at
    return (x,)


def _reshape(x: Affine, at: Attributes) -> Maps:
    found = reshaped(x, at["shape"])
    return None if found is None else (found,)


def _permute(x: Affine, at: Attributes) -> Maps:
    return (permuted(x, [axis % len(x.sizes) for axis in at["axes"]]),)


def _expand(x: Affine, at: Attributes) -> Maps:
    return (expanded(x, at["shape"]),)


def _slice(x: Affine, at: Attributes) -> Maps:
    axis = int(at["axis"]) % len(x.sizes)
    start, step = int(at["start"]), int(at["step"])
    stop = min(int(at["stop"]), x.sizes[axis])
    return (along(x, axis, start, max(0, -(-(stop - start) // step)), step),)


def _select(x: Affine, at: Attributes) -> Maps:
    axis = int(at["axis"]) % len(x.sizes)
    return (without(along(x, axis, at["index"], 1), (axis,)),)


def _squeeze(x: Affine, at: Attributes) -> Maps:
    return (without(x, [axis % len(x.sizes) for axis in at["axes"]]),)


def _unsqueeze(x: Affine, at: Attributes) -> Maps:
    rank = len(x.sizes) + len(at["axes"])
    new = {axis % rank for axis in at["axes"]}
    old = iter(zip(x.sizes, x.strides, strict=True))
    axes = [(1, 0) if axis in new else next(old) for axis in range(rank)]
    sizes, strides = tuple(size for size, _ in axes), tuple(stride for _, stride in axes)
    return (Affine(sizes, strides, x.offset),)


def _split(x: Affine, at: Attributes) -> Maps:
    axis, start, maps = int(at["axis"]) % len(x.sizes), 0, list[Affine]()
    sizes: tuple[int, ...] = at["sizes"]
    for size in sizes:
        maps.append(along(x, axis, start, size))
        start += size
    return tuple(maps)


def _flip(x: Affine, at: Attributes) -> Maps:
    axes: tuple[int, ...] = at["axes"]
    for axis in axes:
        plain = axis % len(x.sizes)
        if x.sizes[plain] > 1:
            x = along(x, plain, x.sizes[plain] - 1, x.sizes[plain], -1)
    return (x,)


VIEWS: dict[str, _Rule] = {
    "Copy": _same,
    "StopGradient": _same,
    "Reshape": _reshape,
    "Permute": _permute,
    "Expand": _expand,
    "Slice": _slice,
    "Select": _select,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "Flip": _flip,
}
