"""Executes a captured script's trace again, from the values that it was given."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bcai.base.errors import FormatError, InputError
from bcai.proof.capture import GivenLeaf, PartLeaf
from bcai.proof.capture_receipt import CaptureReceipt
from bcai.proof.state import canonical_tensors, content_hash
from bcai.proof.step_trace import Place
from bcai.vm.compiler.backend import Backend, Executable
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import Program
from bcai.vm.program.verifier import verify


@dataclass(frozen=True, slots=True)
class CaptureDifference:
    """The first part that came out otherwise.

    Attributes
    ----------
    inputs, results
        What it was run on, by the names of its program's inputs, and the hashes of what came out.
    """

    leaf: int
    result: int
    program: bytes
    expected: bytes
    found: bytes
    inputs: Mapping[str, Array] = field(repr=False)
    results: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CaptureReplayed:
    """How many parts were run; without a `difference` every result agreed."""

    parts: int
    difference: CaptureDifference | None


class Ran(NamedTuple):
    """A part that was executed: the number of its leaf, and what went in and came out."""

    number: int
    leaf: PartLeaf
    inputs: dict[str, Array]
    results: tuple[Array, ...]


def replay_capture(
    receipt: CaptureReceipt,
    given: Mapping[str, Array],
    backend: Backend,
    *,
    stop: int | None = None,
    progress: Callable[[int], None] = lambda leaf: None,
) -> CaptureReplayed:
    """Run part after part and compare what comes out.

    Parameters
    ----------
    given
        The values that came from the script, by the number of their leaf.
    stop
        How many leaves to look at; None for all.
    progress
        Is told the number of leaves done.

    Raises
    ------
    InputError
        A value is missing, or is not the one of the trace.
    """
    parts = 0
    for ran in execute_parts(receipt, given, backend, stop):
        parts += 1
        found = tuple(map(content_hash, ran.results))
        for place, (expected, own) in enumerate(zip(ran.leaf.results, found, strict=True)):
            if expected != own:
                difference = CaptureDifference(
                    ran.number, place, ran.leaf.program, expected, own, ran.inputs, found
                )
                return CaptureReplayed(parts, difference)
        progress(ran.number + 1)
    return CaptureReplayed(parts, None)


def execute_parts(
    receipt: CaptureReceipt, given: Mapping[str, Array], backend: Backend, stop: int | None = None
) -> Iterator[Ran]:
    """Run part after part, each on what the ones before gave; see `replay_capture`."""
    values: dict[Place, Array] = {}
    last_use = _last_uses(receipt)
    executables: dict[bytes, Executable] = {}
    for number, leaf in enumerate(receipt.leaves[:stop]):
        if isinstance(leaf, GivenLeaf):
            values[Place(number, 0)] = value_given(given, number, leaf)
        elif isinstance(leaf, PartLeaf):
            program = receipt.by_root[leaf.program]
            inputs = part_inputs(program, leaf, values)
            executable = executables.get(leaf.program)
            if executable is None:
                executable = executables[leaf.program] = backend.compile(verify(program))
            found = executable.run(inputs)
            results = tuple(found[name] for name, _ in program.outputs)
            yield Ran(number, leaf, inputs, results)
            for place, result in enumerate(results):
                values[Place(number, place)] = result
        for place in last_use.get(number, ()):
            values.pop(place, None)


def value_given(given: Mapping[str, Array], number: int, leaf: GivenLeaf) -> Array:
    """A value of the script's. Raises InputError where it is not the trace's."""
    array = given.get(str(number))
    if array is None:
        raise InputError(f"the value of leaf {number} ({leaf.type}) is missing")
    array = canonical_tensors({"given": array})["given"]
    if TensorType.of(array) != leaf.type or content_hash(array) != leaf.content:
        raise InputError(f"the value of leaf {number} is not the one of the trace")
    return array


def part_inputs(
    program: Program, leaf: PartLeaf, values: Mapping[Place, Array]
) -> dict[str, Array]:
    """What a part runs on, by the names of its program's inputs."""
    return {
        port.name: number_of(source, port.type) if isinstance(source, bytes) else values[source]
        for port, source in zip(program.ports, leaf.sources, strict=True)
    }


def number_of(source: bytes, type_: TensorType) -> Array:
    """A number of the script's as the input that it is for. Raises FormatError."""
    if type_.shape != () or len(source) != type_.dtype.itemsize:
        raise FormatError(f"a number of {len(source)} bytes, the input is {type_}")
    array = np.frombuffer(source, type_.dtype.numpy).reshape(())
    return canonical_tensors({"number": array})["number"]


def _last_uses(receipt: CaptureReceipt) -> dict[int, list[Place]]:
    """Which values nothing needs after a leaf."""
    last: dict[Place, int] = {}
    for number, leaf in enumerate(receipt.leaves):
        if isinstance(leaf, PartLeaf):
            for place in range(len(leaf.results)):
                last[Place(number, place)] = number
            for source in leaf.sources:
                if not isinstance(source, bytes):
                    last[source] = number
    by_leaf: dict[int, list[Place]] = {}
    for place, number in last.items():
        by_leaf.setdefault(number, []).append(place)
    return by_leaf
