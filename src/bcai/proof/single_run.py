"""A plain program job as a run of one step: its parameters are the state, the rest is fed."""

from collections.abc import Mapping
from dataclasses import dataclass

from bcai.proof.run import Constant, Run
from bcai.proof.state import canonical_tensors, tensors_root
from bcai.vm.isa.types import Array
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class SingleRun:
    """The run, and what it starts from."""

    run: Run
    state: dict[str, Array]
    fed: dict[str, Array]


def single_run(program: VerifiedProgram, inputs: Mapping[str, Array]) -> SingleRun:
    """The run that a program and all of its inputs make."""
    given = canonical_tensors(inputs)
    names = {port.name for port in program.program.parameters}
    state = {name: array for name, array in given.items() if name in names}
    fed = {name: array for name, array in given.items() if name not in names}
    run = Run(
        program_root=program_root(program.program),
        isa_version=program.program.isa_version,
        steps=1,
        first_state=tensors_root(state),
        seed=0,
        feed=Constant(tensors_root(fed), tuple(fed)),
    )
    return SingleRun(run, state, fed)
