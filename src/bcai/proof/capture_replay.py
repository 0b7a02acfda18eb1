"""Executes a captured script's trace again, from the values that it was given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bcai.base.errors import InputError
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
    """The first part that came out otherwise."""

    leaf: int
    result: int
    program: bytes
    expected: bytes
    found: bytes


@dataclass(frozen=True, slots=True)
class CaptureReplayed:
    """How many parts were run; without a `difference` every result agreed."""

    parts: int
    difference: CaptureDifference | None


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
    values: dict[Place, Array] = {}
    last_use = _last_uses(receipt)
    executables: dict[bytes, Executable] = {}
    parts = 0
    for number, leaf in enumerate(receipt.leaves[:stop]):
        if isinstance(leaf, GivenLeaf):
            values[Place(number, 0)] = value_given(given, number, leaf)
        elif isinstance(leaf, PartLeaf):
            program = receipt.by_root[leaf.program]
            inputs = part_inputs(program, leaf, values)
            executable = executables.get(leaf.program)
            if executable is None:
                executable = executables[leaf.program] = backend.compile(verify(program))
            results = executable.run(inputs)
            parts += 1
            for place, (name, _) in enumerate(program.outputs):
                found = content_hash(results[name])
                if found != leaf.results[place]:
                    expected = leaf.results[place]
                    return CaptureReplayed(
                        parts, CaptureDifference(number, place, leaf.program, expected, found)
                    )
                values[Place(number, place)] = results[name]
        for place in last_use.get(number, ()):
            values.pop(place, None)
        progress(number + 1)
    return CaptureReplayed(parts, None)


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
    found: dict[str, Array] = {}
    for port, source in zip(program.ports, leaf.sources, strict=True):
        if isinstance(source, bytes):
            array = np.frombuffer(source, port.type.dtype.numpy).reshape(())
            found[port.name] = canonical_tensors({"number": array})["number"]
        else:
            found[port.name] = values[source]
    return found


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
