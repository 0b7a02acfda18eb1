"""Runs a run again, from its first state or from any checkpoint, and compares what it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bcai.base.errors import InputError
from bcai.proof.execute import check_state, execute
from bcai.proof.feed import Feeder
from bcai.proof.recorder import Checkpoint, Recorder, Trace, fixed_parameters
from bcai.vm.compiler.backend import Executable
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram

Part = Literal["rows", "outputs", "state"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first checkpoint that came out otherwise."""

    checkpoint: int
    steps: range
    parts: tuple[Part, ...]
    expected: Checkpoint
    found: Checkpoint


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a replay went; without a `difference` every checkpoint on the way agreed."""

    first: int
    compared: int
    difference: Difference | None
    state: dict[str, Array]
    """The state where it ended."""
    agreed_step: int = 0
    agreed: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """The state before the first checkpoint that differs, and how many steps are done in it."""


def replay(
    feeder: Feeder,
    program: VerifiedProgram,
    executable: Executable,
    trace: Trace,
    state: Mapping[str, Array],
    *,
    first: int = 0,
    stop: int | None = None,
    progress: Callable[[int], None] = lambda step: None,
) -> Replayed:
    """Compare checkpoints `first` to `stop` with what another run of the same steps gives.

    `state` is the one before those steps: the run's first, or the one of checkpoint `first - 1`.
    `progress` is told the number of steps done after each.

    Raises
    ------
    InputError
        The state is not the one that the trace goes on from, or there is no such checkpoint.
    """
    run = feeder.run
    if len(trace.checkpoints) != run.checkpoints:
        raise InputError(
            f"trace: found {len(trace.checkpoints)} checkpoints, the run has {run.checkpoints}"
        )
    if not 0 <= first < run.checkpoints:
        raise InputError(f"first: found {first}, expected 0 to {run.checkpoints - 1}")
    root = trace.checkpoints[first - 1].state if first else run.first_state
    now = check_state(program, state, root)
    recorder = Recorder(run, fixed=fixed_parameters(program), prefix=trace.checkpoints[:first])
    last = run.checkpoints if stop is None else stop
    compared = 0
    agreed = now
    span = range(run.span(first).start, run.span(last - 1).stop)
    for step in execute(feeder, program, executable, now, start=span.start, stop=span.stop):
        found = recorder.record(*step)
        progress(step.done)
        now = step.state
        if found is None:
            continue
        index = first + compared
        compared += 1
        expected = trace.checkpoints[index]
        if found != expected:
            differ = _differ(index, expected, found, run.span(index))
            return Replayed(first, compared, differ, now, differ.steps.start, agreed)
        agreed = now
    return Replayed(first, compared, None, now)


def _differ(index: int, expected: Checkpoint, found: Checkpoint, steps: range) -> Difference:
    pairs: list[tuple[Part, bytes, bytes]] = [
        ("rows", expected.indices, found.indices),
        ("outputs", expected.outputs, found.outputs),
        ("state", expected.state, found.state),
    ]
    parts: tuple[Part, ...] = tuple(name for name, one, two in pairs if one != two)
    return Difference(index, steps, parts, expected, found)
