"""`bcai replay`: runs what a receipt is about once more, and compares every checkpoint."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_FAILED, EXIT_OK, InputError
from bcai.base.units import format_count
from bcai.cli.make_folder import make_folder
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.receipt import read_receipt
from bcai.cli.receipt_folder import look_around
from bcai.cli.tensor_files import read_tensors
from bcai.cli.terminal import print_json, stdout_console

if TYPE_CHECKING:
    from bcai.proof.data import Data
    from bcai.proof.feed import Feeder
    from bcai.proof.receipt import Receipt
    from bcai.proof.replay import Replayed
    from bcai.proof.run import Batches
    from bcai.vm.compiler.backend import Executable
    from bcai.vm.isa.types import Array
    from bcai.vm.program.program import VerifiedProgram

RECEIPT = Parameter(help="A receipt, or a folder with `receipt.bcai`, its data and first state.")
KEEP = Parameter(
    help="Instead of a replay, write to this folder where the steps of --step's checkpoint end, "
    "and that step's leaves, or those of --leaf's part: what `bcai dispute` takes as evidence."
)
DATA = Parameter(
    help="The columns of the data, or the inputs: a folder, .safetensors or .npz file."
)
STATE = Parameter(help="The state to begin with: a folder, .safetensors or .npz file.")
BACKEND = Parameter(help="What computes: 'auto', 'native' or 'reference'. Default: the settings'.")


@dataclass(frozen=True)
class Work:
    """All that it takes to run a receipt's run again."""

    program: "VerifiedProgram"
    feeder: "Feeder"
    executable: "Executable"
    state: "dict[str, Array]"
    backend: str


def replay(
    receipt: Annotated[Path, RECEIPT],
    /,
    *,
    data: Annotated[Path | None, DATA] = None,
    state: Annotated[Path | None, STATE] = None,
    from_: Annotated[
        int | None, Parameter(name="--from", help="Steps that are done in that state. Default: 0.")
    ] = None,
    keep: Annotated[Path | None, KEEP] = None,
    step: Annotated[int | None, Parameter(help="The step that --keep is about.")] = None,
    leaf: Annotated[
        int | None, Parameter(help="Of a captured script: the leaf of the part --keep is about.")
    ] = None,
    backend: Annotated[str | None, BACKEND] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Run the steps again; 1 if a checkpoint comes out otherwise.

    A folder that a job's results were saved to, or that a node keeps of a job, has data and state.
    """
    from bcai.cli.capture_dispute import keep_part
    from bcai.cli.capture_receipt import is_capture, replay_captured
    from bcai.proof.replay import replay as run_again

    found_there = look_around(receipt)
    if is_capture(found_there.receipt):
        refuse_for_captures(**{"--state": state, "--from": from_, "--step": step})
        file = found_there.receipt
        if keep is None and leaf is None:
            return replay_captured(file, data, backend, json=options.json)
        if keep is None or leaf is None:
            raise _half("--keep" if keep is None else "--leaf", "--leaf")
        return keep_part(file, data, backend, keep, leaf, json=options.json)
    if leaf is not None:
        raise InputError(f"--leaf: found {leaf}, but the receipt is of no captured script")
    about = read_receipt(found_there.receipt)
    done = from_ if from_ is not None else 0 if state is not None else found_there.done
    first = _checkpoint_after(about, done)
    work = prepare(about, data or found_there.data, state or found_there.state, backend)
    if keep is not None or step is not None:
        return _keep(about, work, done, keep, step, options)
    started = time.perf_counter()
    with Counter(about.run.steps, options.json) as counter:
        found = run_again(
            work.feeder, work.program, work.executable, about.trace, work.state,
            first=first, progress=counter.tell,
        )  # fmt: skip
    took_s = time.perf_counter() - started
    if options.json:
        print_json(_document(found, work, took_s))
    else:
        _print(found, about, work, took_s)
    return EXIT_OK if found.difference is None else EXIT_FAILED


def _half(missing: str, which: str) -> InputError:
    return InputError(f"{missing} is missing: --keep FOLDER and {which} N go together")


def _keep(
    receipt: "Receipt",
    work: Work,
    done: int,
    folder: Path | None,
    step: int | None,
    options: OutputOptions,
) -> int:
    """Keep what a dispute about one step needs, as this machine computes it."""
    from bcai.proof.execute import check_state
    from bcai.proof.kept_evidence import keep_evidence
    from bcai.proof.side import ReplayingSide

    if folder is None or step is None:
        raise _half("--keep" if folder is None else "--step", "--step")
    if not done <= step < receipt.run.steps:
        raise InputError(f"--step: found {step}, expected {done} to {receipt.run.steps - 1}")
    make_folder(folder, "--keep")
    states = {done: check_state(work.program, work.state)}
    side = ReplayingSide(work.program, work.feeder, work.executable, receipt.trace, states)
    checkpoint = step // receipt.run.checkpoint_every
    keep_evidence(folder, side, checkpoint, step)
    names = [f"checkpoint-{checkpoint}.steps", f"step-{step}.leaves"]
    if options.json:
        print_json({"folder": str(folder), "files": names})
    else:
        stdout_console().print(f"kept in {folder}: {', '.join(names)}", markup=False)
    return EXIT_OK


def refuse_for_captures(**given: object) -> None:
    """A captured script starts from what it gave, and has no steps."""
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option}: the receipt is of a captured script; leave it out")


def prepare(receipt: "Receipt", data: Path | None, state: Path | None, backend: str | None) -> Work:
    """Read the data and the state, hold them against the run, and compile the program."""
    from bcai.proof.feed import Feeder
    from bcai.proof.run import Batches
    from bcai.settings import read_settings
    from bcai.vm.program.verifier import verify
    from bcai.vm.runtime.choose_backend import choose_backend

    program = verify(receipt.program)
    feed = receipt.run.feed
    if data is None and (isinstance(feed, Batches) or feed.names):
        raise InputError(
            "--data is missing: the run has inputs",
            hint="give --data, or a folder with rows.safetensors beside the receipt",
        )
    if state is None and program.program.parameters:
        raise InputError(
            "--state is missing: the program has parameters",
            hint="give --state, or a folder with first_state.safetensors beside the receipt",
        )
    given = {} if data is None else read_tensors(data, "--data")
    if isinstance(feed, Batches):
        feeder = Feeder(receipt.run, program, _data(feed, given, data))
    else:
        _require(feed.names, given, data, "inputs")
        feeder = Feeder(receipt.run, program, {name: given[name] for name in feed.names})
    chosen = choose_backend(backend or read_settings().enhanced_vm.hardware_backend).backend
    begin = {} if state is None else read_tensors(state, "--state")
    names = {port.name for port in program.program.parameters}
    begin = {name: array for name, array in begin.items() if name in names}
    return Work(program, feeder, chosen.compile(program), begin, chosen.name)


def _data(feed: "Batches", given: "Mapping[str, Array]", path: Path | None) -> "Data":
    """The columns that the run takes; all of them where the run committed to more."""
    from bcai.proof.data import Data

    wanted = set(feed.columns.values())
    _require(wanted, given, path, "columns")
    taken = Data({name: column for name, column in given.items() if name in wanted})
    return taken if taken.root == feed.data_root else Data(given)


def _require(
    wanted: "Iterable[str]", given: "Mapping[str, Array]", path: Path | None, what: str
) -> None:
    if set(wanted) - given.keys():
        raise InputError(
            f"--data {path}: found {', '.join(sorted(given)[:5]) or 'nothing'}, "
            f"expected the {what} {', '.join(sorted(wanted))}",
            hint="a .npy file gives the tensor that it is named after",
        )


class Counter:
    """Says on a terminal how many steps are done; in a pipe it is silent."""

    def __init__(self, steps: int, quiet: bool) -> None:
        import sys

        self._steps = steps
        self._stream = sys.stderr if sys.stderr.isatty() and not quiet else None
        self._told = 0.0

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.write("\r\x1b[K")

    def tell(self, done: int) -> None:
        """`done` steps are done."""
        now = time.perf_counter()
        if self._stream is not None and now - self._told > 0.1:
            self._told = now
            self._stream.write(f"\rstep {done} of {self._steps}")
            self._stream.flush()


def _checkpoint_after(receipt: "Receipt", step: int) -> int:
    """Number of the checkpoint that starts after so many steps."""
    every = receipt.run.checkpoint_every
    if step % every or not 0 <= step < receipt.run.steps:
        raise InputError(
            f"--from: found {step}, expected a checkpoint's step: a multiple of {every} "
            f"under {receipt.run.steps}"
        )
    return step // every


def _print(found: "Replayed", receipt: "Receipt", work: Work, took_s: float) -> None:
    console = stdout_console()
    if found.difference is None:
        console.print(
            f"agrees: {format_count(found.compared, 'checkpoint')} to the end, on {work.backend}, "
            f"in {took_s:.2f} s",
            markup=False,
        )
        return
    at = found.difference
    agreed = f"{found.compared - 1} of {len(receipt.checkpoints)} checkpoints agree"
    console.print(
        f"DIFFERS at checkpoint {at.checkpoint} (steps {at.steps.start} to {at.steps.stop - 1}): "
        f"{' and '.join(at.parts)}; {agreed}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"  receipt  {at.expected.state.hex()}", markup=False)
    console.print(f"  replayed {at.found.state.hex()}", markup=False)


def _document(found: "Replayed", work: Work, took_s: float) -> dict[str, Any]:
    at = found.difference
    return {
        "agrees": at is None,
        "backend": work.backend,
        "first_checkpoint": found.first,
        "compared": found.compared,
        "wall_s": took_s,
        "difference": None
        if at is None
        else {
            "checkpoint": at.checkpoint,
            "steps": [at.steps.start, at.steps.stop],
            "parts": list(at.parts),
            "expected": at.expected.state.hex(),
            "found": at.found.state.hex(),
        },
    }
