"""What a client ordered, read from the job and its files: a run, and all that it starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bcai.jobs.spec import INPUTS_NAME, JobKind, JobSpec, Mount
from bcai.jobs.training import CHECKPOINTS, ROWS, RUN, STATE
from bcai.proof.data import Data
from bcai.proof.execute import begin, check_state
from bcai.proof.feed import Feeder
from bcai.proof.run import Run, decode_run
from bcai.proof.single_run import single_run
from bcai.proof.tensors import load_tensors
from bcai.proof.trace_file import decode_trace
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify

Files = Mapping[tuple[Mount, str], bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """A run that a client ordered."""

    program: VerifiedProgram
    run: Run
    feeder: Feeder
    state: Mapping[str, Any]
    """The tensors that it starts from."""
    first: int = 0
    """The first checkpoint that the node had to compute itself."""


def read_order(spec: JobSpec, files: Files) -> Order:
    """Read a training or a Program from the files of its job.

    Raises
    ------
    InputError, SafetensorError, KeyError
        It is none that a worker would begin with.
    """
    return READERS[spec.kind](spec, files)


def _training(spec: JobSpec, files: Files) -> Order:
    assert spec.entry is not None
    program = verify(decode_program(files[Mount.PROJECT, spec.entry]))
    run = decode_run(files[Mount.PROJECT, RUN])
    feeder = Feeder(run, program, Data(load_tensors(files[Mount.DATA, ROWS])))
    state = load_tensors(files[Mount.DATA, STATE])
    if (Mount.PROJECT, CHECKPOINTS) not in files:
        return Order(program, run, feeder, begin(run, program, state))
    earlier = decode_trace(files[Mount.PROJECT, CHECKPOINTS])
    known = check_state(program, state, earlier.final_state)
    return Order(program, run, feeder, known, len(earlier.checkpoints))


def _program(spec: JobSpec, files: Files) -> Order:
    assert spec.entry is not None
    program = verify(decode_program(files[Mount.PROJECT, spec.entry]))
    source = files.get((Mount.DATA, INPUTS_NAME))
    single = single_run(program, load_tensors(source) if source is not None else {})
    feeder = Feeder(single.run, program, single.fed)
    return Order(program, single.run, feeder, single.state)


READERS = {JobKind.TRAINING: _training, JobKind.PROGRAM: _program}
