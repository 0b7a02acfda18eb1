"""A program together with the gradients of its loss."""

from collections.abc import Mapping, Sequence

import numpy as np

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.compiler.simplify import simplify
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

SMALL = 1e-3
"""Magnitudes below this are held against it: a gradient that is 0 in exact arithmetic is noise."""


def reopen(verified: VerifiedProgram) -> tuple[Builder, dict[str, Symbol], dict[str, Symbol]]:
    """Write a program once more; return its ports and its outputs by name."""
    builder = Builder()
    symbols = builder.copy_ports(verified.program)
    ports = dict(zip((port.name for port in verified.program.ports), symbols, strict=True))
    for instruction in verified.program.instructions:
        operands = [None if each is None else symbols[each] for each in instruction.operands]
        symbols += builder.emit(instruction.op.name, operands, instruction.attributes)
    return builder, ports, {name: symbols[value] for name, value in verified.program.outputs}


def with_gradients(verified: VerifiedProgram, wrt: Sequence[str]) -> VerifiedProgram:
    """The program with an output `d NAME` for the gradient of `loss` by each of `wrt`."""
    builder, ports, outputs = reopen(verified)
    found = gradients(outputs["loss"], [ports[name] for name in wrt])
    named = {f"d {name}": each for name, each in zip(wrt, found, strict=True)}
    return simplify(builder.finish(**outputs, **named))


def weigh(verified: VerifiedProgram, weights: Mapping[str, Array]) -> VerifiedProgram:
    """The program with the output `loss`: its outputs times weights, summed."""
    builder, _, outputs = reopen(verified)
    parts = [(outputs[name] * builder.constant(each)).sum() for name, each in weights.items()]
    loss = parts[0]
    for each in parts[1:]:
        loss = loss + each
    return builder.finish(**outputs, loss=loss)


def run(verified: VerifiedProgram, values: Mapping[str, Array]) -> dict[str, Array]:
    """Run on the reference backend, with the inputs that the program has."""
    names = [port.name for port in verified.program.ports]
    return ReferenceInterpreter().run(verified, {name: values[name] for name in names})


def distance(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest expected magnitude (or to SMALL)."""
    if found.shape != expected.shape:
        return float("inf")
    both = np.isnan(found) & np.isnan(expected) if expected.dtype.kind == "f" else False
    same = (found == expected) | both
    if same.all():
        return 0.0
    wide = np.float64 if expected.dtype.kind in "fiub" else None
    gap = np.abs(found.astype(wide) - expected.astype(wide))
    scale = max(SMALL, float(np.abs(expected.astype(wide)[np.isfinite(expected)]).max(initial=0.0)))
    return float(np.where(same, 0.0, gap).max()) / scale
