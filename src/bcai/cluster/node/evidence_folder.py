"""What a node keeps of a job, to defend its result: the receipt, and all that the run starts from.

    receipt.bcai              what the node signed
    rows.safetensors          the data of a training; or inputs.safetensors: of a program, or what a
                              captured script gave
    first_state.safetensors   the state that it started from
    states/N.safetensors      the state after N steps, of some N: a defence goes on from there
    outputs/...               what it computed, until that is handed in

The instructions of a step are not kept: whoever has these files computes them again, to the same
bits. A folder appears under its job's id when all of it is there. `bcai replay` and `bcai dispute`
read one, too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import DependencyError, FormatError, NotFoundError
from bcai.cluster.node.evidence_shelf import FIRST_STATE, RECEIPT, ROWS, STATES
from bcai.cluster.node.worker_messages import INPUTS
from bcai.proof.capture_dispute import inputs_of, part_of
from bcai.proof.capture_receipt import decode_capture
from bcai.proof.data import Data
from bcai.proof.feed import Feeder
from bcai.proof.receipt import Receipt, decode_receipt
from bcai.proof.run import Batches
from bcai.proof.side import ReplayingSide
from bcai.proof.state import canonical_tensors
from bcai.vm.compiler.backend import Backend
from bcai.vm.isa.types import Array
from bcai.vm.program.verifier import verify

_STATE_PREFIX = "state/"  # as kept_run.py names tensors


def read_kept_receipt(folder: Path) -> Receipt:
    """The receipt of a kept job. Raises NotFoundError and FormatError."""
    try:
        return decode_receipt((folder / RECEIPT).read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"there is no {RECEIPT} in {folder}") from None


def open_side(folder: Path, backend: Backend, leaf: int | None = None) -> ReplayingSide:
    """The side that this folder defends, computing with a backend.

    Parameters
    ----------
    leaf
        Of a captured script: which part of it is disputed.

    Raises
    ------
    NotFoundError, FormatError, InputError
        A file is missing, or is not what the receipt is about.
    DependencyError
        The disk does not give a file.
    """
    if leaf is not None:
        return _open_part(folder, backend, leaf)
    receipt = read_kept_receipt(folder)
    program = verify(receipt.program)
    if isinstance(receipt.run.feed, Batches):
        feeder = Feeder(receipt.run, program, Data(_read(folder / ROWS)))
        first = FIRST_STATE
    else:
        names = receipt.run.feed.names
        given = _read(folder / INPUTS) if (folder / INPUTS).is_file() else {}
        feeder = Feeder(receipt.run, program, {name: given[name] for name in names})
        first = INPUTS
    parameters = frozenset(port.name for port in program.program.parameters)
    states = KeptStates(folder, first, parameters)
    return ReplayingSide(program, feeder, backend.compile(program), receipt.trace, states)


def _open_part(folder: Path, backend: Backend, leaf: int) -> ReplayingSide:
    """What was before the part is computed again: only what the script gave is kept."""
    try:
        receipt = decode_capture((folder / RECEIPT).read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"there is no {RECEIPT} in {folder}") from None
    part = part_of(receipt, leaf)
    return part.side(inputs_of(receipt, _read(folder / INPUTS), backend, leaf), backend)


class KeptStates(Mapping[int, Mapping[str, Array]]):
    """The states of a folder, by the number of steps done; each is read when it is asked for."""

    def __init__(self, folder: Path, first: str, names: frozenset[str]) -> None:
        self._names = names
        self._files: dict[int, Path] = {}
        if not names or (folder / first).is_file():  # a run that was continued starts later
            self._files[0] = folder / first
        for file in (folder / STATES).glob("*.safetensors"):
            if file.stem.isdecimal():
                self._files[int(file.stem)] = file

    def __getitem__(self, step: int) -> Mapping[str, Array]:
        """The parameters; other tensors of the file are not the state's."""
        file = self._files[step]
        if not self._names and not file.is_file():
            return {}
        found = {name.removeprefix(_STATE_PREFIX): each for name, each in _read(file).items()}
        missing = sorted(self._names - found.keys())
        if missing:
            raise FormatError(f"{file}: parameter {missing[0]!r} is missing")
        return canonical_tensors({name: found[name] for name in self._names})

    def __iter__(self) -> Iterator[int]:
        """Numbers of steps."""
        return iter(self._files)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._files)


def _read(file: Path) -> dict[str, Array]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise NotFoundError(f"there is no {file}") from None
    except SafetensorError as error:
        raise FormatError(f"{file}: {error}") from error
    except OSError as error:
        raise DependencyError(f"{file} cannot be read: {error}") from error
