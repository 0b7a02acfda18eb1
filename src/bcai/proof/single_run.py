"""A plain program job as a run of one step: its parameters are the state, the rest is fed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bcai.proof.run import Constant, Run
from bcai.proof.state import TensorHash, canonical_tensors, hash_tensors, head_of
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
    return SingleRun(run_on(program, hash_tensors(state), hash_tensors(fed)), state, fed)


def run_on(program: VerifiedProgram, state: Iterable[TensorHash], fed: Iterable[TensorHash]) -> Run:
    """The same from hashes alone: of the parameters, and of the other inputs, in their order."""
    given = tuple(fed)
    return Run(
        program_root=program_root(program.program),
        isa_version=program.program.isa_version,
        steps=1,
        first_state=head_of(state).digest,
        seed=0,
        feed=Constant(head_of(given).digest, tuple(each.name for each in given)),
    )
