"""Runs a Run, step by step: the one loop behind training, replay and disputes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bcai.base.errors import InputError
from bcai.proof.feed import Feeder
from bcai.proof.run import Run
from bcai.proof.state import canonical_tensors, tensors_root
from bcai.vm.compiler.backend import Executable
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram


class Step(NamedTuple):
    """What a step left: `done` counts the steps so far, `outputs` are those that are not state."""

    done: int
    state: dict[str, Array]
    outputs: dict[str, Array]


def execute(
    feeder: Feeder,
    program: VerifiedProgram,
    executable: Executable,
    state: Mapping[str, Array],
    *,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Step]:
    """Run steps `start` to `stop` (the run's last by default), from the state before them.

    Raises
    ------
    InputError
        As `Executable.run`.
    """
    names = frozenset(port.name for port in program.program.parameters)
    now = dict(state)
    for step in range(start, feeder.run.steps if stop is None else stop):
        found = executable.run(feeder.inputs(step) | now)
        outputs = {name: array for name, array in found.items() if name not in names}
        now |= {name: array for name, array in found.items() if name in names}
        yield Step(step + 1, now.copy(), outputs)


def check_state(
    program: VerifiedProgram, state: Mapping[str, Array], root: bytes | None = None
) -> dict[str, Array]:
    """A state in canonical form, once it fits the program and has the root that it must have.

    Raises
    ------
    InputError
        A parameter is missing, unknown or of another type, or the root is another.
    """
    types = {port.name: port.type for port in program.program.parameters}
    for name in sorted(set(state) ^ set(types)):
        what = "unknown" if name in state else f"missing ({types[name]})"
        raise InputError(f"state: parameter {name!r} is {what}")
    canonical = canonical_tensors(state)
    for name, type_ in types.items():
        found = TensorType.of(canonical[name])
        if found != type_:
            raise InputError(f"state: parameter {name!r} is {found}, expected {type_}")
    if root is not None and (here := tensors_root(canonical)) != root:
        raise InputError(f"state: its root is {here.hex()}, expected {root.hex()}")
    return canonical


def begin(run: Run, program: VerifiedProgram, state: Mapping[str, Array]) -> dict[str, Array]:
    """The first state of a run, checked. Raises InputError."""
    return check_state(program, state, run.first_state)
