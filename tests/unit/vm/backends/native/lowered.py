"""One instruction through its lowering, on operands and results in awkward places of memory."""

from collections.abc import Sequence
from typing import Any

from tests.unit.vm.backends.native.harness import SPLITS_WHOLE, aligned, run_launches

from bcai.vm.backends.native.kernels import LOWERINGS
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Buffer, OpTask, Role, View
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.isa.versions import LATEST

PLAIN, AWKWARD = False, True


def view_in(memory: Array, buffer: int, type_: TensorType, awkward: bool) -> tuple[View, Array]:
    """A view in a buffer, and the same as an array: axes in another order, every other element."""
    itemsize = type_.dtype.itemsize
    elements = memory[: memory.size // itemsize * itemsize].view(type_.dtype.numpy)
    if not awkward or type_.elements <= 1:
        array = elements[5 : 5 + type_.elements].reshape(type_.shape)
    else:
        turned = elements[3 : 3 + 2 * type_.elements : 2].reshape(type_.shape[::-1])
        array = turned.transpose()[(slice(None),) * (type_.rank - 1) + (slice(None, None, -1),)]
    start = array.ctypes.data - memory.ctypes.data
    steps = tuple(step // itemsize for step in array.strides)
    return View(buffer, type_, steps, start // itemsize), array


def memory_for(type_: TensorType) -> Array:
    """Enough for `view_in`."""
    return aligned((2 * type_.elements + 8) * type_.dtype.itemsize)


def run_lowered(
    name: str,
    operands: Sequence[Array],
    attributes: dict[str, Any],
    results: Sequence[TensorType],
    target: Target,
    *,
    awkward: bool = PLAIN,
    splits: Sequence[float] = SPLITS_WHOLE,
) -> tuple[int, list[Array]]:
    """What the launches return, and the results."""
    types = [*map(TensorType.of, operands), *results]
    memory = [memory_for(each) for each in types]
    views: list[View] = []
    arrays: list[Array] = []
    for number, type_ in enumerate(types):
        view, array = view_in(memory[number], number, type_, awkward)
        views.append(view)
        arrays.append(array)
    for array, operand in zip(arrays, operands, strict=False):
        array[...] = operand
    buffers = [Buffer(i, each.size, Role.TEMPORARY) for i, each in enumerate(memory)]
    scope = Scope(target, 2, buffers)
    count = len(operands)
    task = OpTask(LATEST.by_name[name], attributes, tuple(views[:count]), tuple(views[count:]), 0)
    launches = LOWERINGS[name](task, scope)
    assert launches is not None, name
    memory += [aligned(each.nbytes) for each in scope.buffers[len(memory) :]]
    fault = run_launches([*scope.launches, *launches], memory, target, splits)
    return fault, [each.copy(order="C") for each in arrays[count:]]
