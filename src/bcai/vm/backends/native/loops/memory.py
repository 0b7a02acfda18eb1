"""What a loop keeps in the thread's memory, and where."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bcai.vm.backends.native.llvm import Function, Value
from bcai.vm.backends.native.loops.columns import sums_bytes
from bcai.vm.backends.native.loops.form import Form
from bcai.vm.backends.native.loops.recursion import recursion_bytes
from bcai.vm.backends.native.loops.rows import PAD
from bcai.vm.backends.native.loops.schedule import Pass, levels, schedule, varying
from bcai.vm.backends.native.loops.shares import shares, vector_count
from bcai.vm.backends.native.loops.sweep import fits_registers
from bcai.vm.backends.native.loops.tiles import is_direct, transposed_reads
from bcai.vm.backends.native.loops.writer import kept_bytes
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Fold, Literal
from bcai.vm.isa.order import CHUNK

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses in the thread's memory, by node; `filled` are chunks of folds, or tiles."""

    kept: Mapping[int, Value]
    filled: Mapping[int, Value]
    recursions: Mapping[int, Value]
    sums: Mapping[int, Value]


@dataclass(slots=True)
class Memory:
    """Passes of a loop, and offsets of what it keeps, in bytes; `kept` also of columns."""

    passes: tuple[Pass, ...]
    nbytes: int = 0
    kept: dict[int, int] = field(default_factory=dict[int, int])
    filled: dict[int, int] = field(default_factory=dict[int, int])
    recursions: dict[int, int] = field(default_factory=dict[int, int])
    sums: dict[int, int] = field(default_factory=dict[int, int])

    def take(self, table: dict[int, int], node: int, nbytes: int) -> None:
        """Give a node some memory."""
        table[node] = self.nbytes
        self.nbytes += -(-nbytes // _ALIGNMENT) * _ALIGNMENT

    def addresses(self, f: Function, scratch: Value) -> Places:
        """The offsets as addresses."""

        def placed(table: Mapping[int, int]) -> dict[int, Value]:
            return {node: f.offset(scratch, offset) for node, offset in table.items()}

        return Places(
            placed(self.kept), placed(self.filled), placed(self.recursions), placed(self.sums)
        )


def memory_of(form: Form, target: Target) -> Memory:
    """Plan what a loop keeps."""
    length = math.prod(form.row)
    memory = Memory(schedule(form, target, 1 << 62 if form.columns else 4 * length))
    if form.columns and form.partial:
        return memory
    if form.columns:
        _columns(form, target, memory, length)
        return memory
    count = vector_count(form, target)
    if form.tiles:
        direct = is_direct(form, memory.passes[0], target)
        for number in [] if direct else transposed_reads(form):
            memory.take(memory.filled, number, count * count * kept_bytes(form.dtype(number)))
        return memory
    registers = fits_registers(form, memory.passes, target, count)
    for pass_ in memory.passes:
        for number in pass_.kept:
            memory.take(memory.kept, number, length * kept_bytes(form.dtype(number)))
        for number in pass_.folds:
            if not registers and length:
                size = (CHUNK + 2 * PAD) * kept_bytes(form.dtype(number))
                memory.take(memory.filled, number, size)
            if length > CHUNK:
                memory.take(memory.recursions, number, recursion_bytes(length))
    return memory


def _columns(form: Form, target: Target, memory: Memory, length: int) -> None:
    width = shares(form, target).width
    varies, level = varying(form), levels(form)
    for number, node in enumerate(form.nodes):
        if varies[number] or isinstance(node, Literal):
            continue
        if isinstance(node, Fold) or level[number]:
            memory.take(memory.kept, number, width * 8)
    for pass_ in memory.passes:
        for number in pass_.folds:
            memory.take(memory.sums, number, sums_bytes(width))
            if length > CHUNK:
                memory.take(memory.recursions, number, recursion_bytes(length, width))
