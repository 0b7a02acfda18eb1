"""How the results of operations that go element by element lie, of operands that lie in some way.

Torch's fake tensors say it for all but axes of one element, whose strides they settle otherwise.

Source: aten/src/ATen/TensorIterator.cpp, fast_set_up, reorder_dimensions, allocate_or_resize.
"""

from collections.abc import Sequence

import torch

from bcai.bridge.guest.capturing.geometry import contiguous


def strides_of(operands: Sequence[torch.Tensor], shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a new tensor of the shape that the operands are broadcast to."""
    if all(each.shape == operands[0].shape for each in operands):
        if all(each.is_contiguous() for each in operands):
            return contiguous(shape)
        if len(shape) == 4 and all(
            each.is_contiguous(memory_format=torch.channels_last) for each in operands
        ):
            return _along((1, 3, 2, 0), shape)
        strides = operands[0].stride()
        if is_dense(operands[0]) and all(each.stride() == strides for each in operands):
            return strides
    known = [_seen(each, shape) for each in operands]
    return _along(_order(known, shape), shape)


def _seen(operand: torch.Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an operand over the whole shape: 0 where it is repeated."""
    missing = len(shape) - operand.ndim
    along = zip(operand.shape, operand.stride(), shape[missing:], strict=True)
    own = [0 if size == 1 and whole != 1 else stride for size, stride, whole in along]
    return (*[0] * missing, *own)


def _order(known: Sequence[tuple[int, ...]], shape: Sequence[int]) -> list[int]:
    """Axes from the innermost to the outermost, by insertion; some pairs say nothing."""
    order = list(reversed(range(len(shape))))
    for start in range(1, len(order)):
        at = start
        for before in range(start - 1, -1, -1):
            found = _compared(known, shape, order[before], order[at])
            if found > 0:
                order[before], order[at] = order[at], order[before]
                at = before
            elif found < 0:
                break
    return order


def _compared(
    known: Sequence[tuple[int, ...]], shape: Sequence[int], first: int, second: int
) -> int:
    """Below 0 if the first axis is the inner one, above 0 if the second is."""
    for strides in known:
        if strides[first] == 0 or strides[second] == 0:
            continue
        if strides[first] != strides[second]:
            return strides[first] - strides[second]
        if shape[first] > shape[second]:
            return 1
    return 0


def _along(order: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps, its axes in this order from the innermost on."""
    if list(order) == list(reversed(range(len(shape)))):
        return contiguous(shape)
    strides, step = [0] * len(shape), 1
    for axis in order:
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def is_dense(x: torch.Tensor) -> bool:
    """Whether the elements fill one stretch, each once."""
    step = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True
