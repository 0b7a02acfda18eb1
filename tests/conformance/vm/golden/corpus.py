"""What is computed on every machine: cases with their operands, code and definition."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tests.conformance.vm.golden.image import lay_out
from tests.conformance.vm.golden.machines import run_image
from tests.conformance.vm.golden.operands import floats_of_all_kinds, fused_operands, special_floats
from tests.conformance.vm.golden.scalar_kernels import FUNCTIONS, OPERANDS, ScalarKernel

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.target import Target
from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.isa import scalar
from bcai.vm.isa.arithmetic import Exact
from bcai.vm.isa.types import Array, DType, TensorType

ELEMENTS = {DType.float32: 3001, DType.float64: 701}


@dataclass(frozen=True, slots=True)
class Work:
    """Launches on buffers: those of the operands, those of the results, then temporaries."""

    launches: tuple[Launch, ...]
    temporaries: tuple[int, ...] = ()
    """Bytes of each."""


@dataclass(frozen=True, slots=True)
class Case:
    """A computation whose bits are the same on every machine."""

    name: str
    operands: tuple[Array, ...]
    results: tuple[TensorType, ...]
    work: Callable[[Target], Work]
    define: Callable[[Sequence[Array]], Sequence[Array]] | None = None
    """The definition, where it is quick enough."""

    def run(self, target: Target, pieces: int) -> tuple[Array, ...]:
        """Compute the results, every launch in up to `pieces` calls."""
        work = self.work(target)
        contents = [np.ascontiguousarray(each).tobytes() for each in self.operands]
        sizes = [*map(len, contents), *(each.nbytes for each in self.results), *work.temporaries]
        image = lay_out(work.launches, sizes, contents, pieces)
        memory = run_image(image, target)
        for place, content in zip(image.buffers, contents, strict=False):
            assert memory[place : place + len(content)].tobytes() == content, "operands are read"
        places = image.buffers[len(contents) :]
        return tuple(
            memory[place : place + type_.nbytes].view(type_.dtype.numpy).reshape(type_.shape)
            for place, type_ in zip(places, self.results, strict=False)
        )


def digest(results: Sequence[Array]) -> str:
    """SHA-256 of types and canonical bytes, in hexadecimal."""
    total = hashlib.sha256()
    for each in results:
        total.update(str(TensorType.of(each)).encode() + canonical(each).tobytes())
    return total.hexdigest()


def scalar_case(name: str, dtype: DType) -> Case:
    """One scalar function on floats of all kinds."""
    count = OPERANDS.get(name, 1)
    special = special_floats(dtype)
    size = ELEMENTS[dtype]
    operands = [floats_of_all_kinds(dtype, size, 7 + each) for each in range(count)]
    if name == "fma":
        operands = list(fused_operands(dtype, size, 7))
    if count == 1:
        operands = [np.concatenate([special, operands[0]])]
    elif count == 2:  # every pair of special values first
        grid = np.meshgrid(special, special)
        operands = [np.concatenate([g.ravel(), o]) for g, o in zip(grid, operands, strict=True)]
    launch = Launch(
        ScalarKernel(name, dtype),
        tuple(map(Address, range(count + 1))),
        operands[0].size,
        tuple(range(count)),
        (count,),
        0,
    )

    def define(values: Sequence[Array]) -> Sequence[Array]:
        arithmetic = Exact(dtype)
        function = getattr(scalar, name, None)
        if function is None:
            return (getattr(arithmetic, name)(*values),)
        return (function(arithmetic, *values),)

    return Case(
        f"{name}.{dtype.name}",
        tuple(operands),
        (TensorType.of(operands[0]),),
        lambda _: Work((launch,)),
        define,
    )


def cases() -> Iterator[Case]:
    """Every case, by what it computes."""
    for dtype in (DType.float32, DType.float64):
        for name in FUNCTIONS:
            yield scalar_case(name, dtype)
