"""`bcai dispute`: two receipts of one run that disagree. Finds where, and says which is wrong."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_OK, InputError, NotFoundError
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.receipt import read_receipt
from bcai.cli.receipt_folder import look_around
from bcai.cli.replay import (
    BACKEND,
    DATA,
    RECEIPT,
    STATE,
    Counter,
    Work,
    prepare,
    refuse_for_captures,
)
from bcai.cli.settled import print_settled, print_unused, settled_document, unused_evidence
from bcai.cli.terminal import print_json, stdout_console

if TYPE_CHECKING:
    from bcai.proof.receipt import Receipt
    from bcai.proof.recorder import Trace
    from bcai.proof.settle import Settled


@dataclass(frozen=True)
class Found:
    """Who is wrong from which checkpoint on; and where exactly, with its node's evidence."""

    wrong: tuple[str, ...]
    checkpoint: int
    steps: range
    settled: "Mapping[str, Settled]"
    replay_s: float


def dispute(
    a: Annotated[Path, RECEIPT],
    b: Annotated[Path, Parameter(help="Another one of the same run.")],
    /,
    *,
    data: Annotated[Path | None, DATA] = None,
    state: Annotated[Path | None, STATE] = None,
    evidence_a: Annotated[
        Path | None, Parameter(help="Folder that the node of A kept: its steps and leaves.")
    ] = None,
    evidence_b: Annotated[
        Path | None, Parameter(help="Folder that the node of B kept: its steps and leaves.")
    ] = None,
    backend: Annotated[str | None, BACKEND] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Say which receipt is wrong, and where; down to the instruction with its node's evidence.

    The steps up to the first difference are run again here, as the referee.
    """
    from bcai.cli.capture_dispute import dispute_captured
    from bcai.cli.capture_receipt import is_capture

    around = {"A": look_around(a), "B": look_around(b)}
    evidence = {"A": evidence_a, "B": evidence_b}
    _require_folders(evidence)
    folders = {name: evidence[name] or around[name].evidence for name in around}
    if all(is_capture(each.receipt) for each in around.values()):
        refuse_for_captures(**{"--state": state})
        files = {name: each.receipt for name, each in around.items()}
        return dispute_captured(files, folders, data, backend, evidence, json=options.json)
    plain = {name: each.receipt for name, each in around.items() if not is_capture(each.receipt)}
    receipts = {name: read_receipt(file) for name, file in plain.items()}
    if len(receipts) < len(around):
        raise InputError("one receipt is of a captured script, and the other is not")
    _require_dispute(receipts)
    data = data or next((each.data for each in around.values() if each.data), None)
    whole = (each.state for each in around.values() if each.state and not each.done)
    work = prepare(receipts["A"], data, state or next(whole, None), backend)
    found = _judge(receipts, work, folders, options.json)
    unused = unused_evidence(evidence, found.wrong)
    if options.json:
        print_json({**_document(found, work), "unused": unused})
    else:
        _print(found, work, folders)
        print_unused(unused, "that receipt is right here")
    return EXIT_OK


def _require_folders(evidence: Mapping[str, Path | None]) -> None:
    for name, folder in evidence.items():
        if folder is not None and not folder.is_dir():
            raise NotFoundError(
                f"--evidence-{name.lower()}: there is no folder {str(folder)!r}",
                hint="expected what a node keeps of a job, or what bcai replay --keep wrote",
            )


def _require_dispute(receipts: "Mapping[str, Receipt]") -> None:
    from bcai.proof.check import check_receipt
    from bcai.proof.evidence import require_exact

    for name, receipt in receipts.items():
        findings = check_receipt(receipt).findings
        if findings:
            raise InputError(
                f"receipt {name} does not fit together: {findings[0].name}: {findings[0].message}",
                hint="a receipt that does not check is wrong without a dispute",
            )
    one, two = receipts["A"], receipts["B"]
    if one.run.digest != two.run.digest:
        raise InputError("the receipts are of different runs: there is nothing to compare")
    require_exact(one.commitment.evidence, two.commitment.evidence)
    if one.checkpoints == two.checkpoints:
        raise InputError("the two traces are the same: there is nothing to dispute")


def _judge(
    receipts: "Mapping[str, Receipt]",
    work: Work,
    folders: Mapping[str, Path | None],
    quiet: bool,
) -> Found:
    """Run up to the first difference; whoever differs from that is wrong."""
    from bcai.proof.recorder import Trace
    from bcai.proof.replay import replay

    run = receipts["A"].run
    pairs = zip(receipts["A"].checkpoints, receipts["B"].checkpoints, strict=True)
    first = next(index for index, (one, two) in enumerate(pairs) if one != two)
    started = time.perf_counter()
    with Counter(run.span(first).stop, quiet) as counter:
        found = replay(
            work.feeder, work.program, work.executable, receipts["A"].trace, work.state,
            stop=first + 1, progress=counter.tell,
        )  # fmt: skip
    replay_s = time.perf_counter() - started
    at = first if found.difference is None else found.difference.checkpoint
    own = receipts["A"].checkpoints[at] if found.difference is None else found.difference.found
    wrong = tuple(name for name, each in receipts.items() if each.checkpoints[at] != own)
    settled: dict[str, Settled] = {}
    for name in wrong:
        folder = folders[name]
        if folder is not None:
            before = receipts[name].checkpoints[:at]
            after = receipts[name].checkpoints[at + 1 :]
            truth = Trace((*before, own, *after))
            settled[name] = _settle(receipts[name], truth, work, folder)
    return Found(wrong, at, run.span(at), settled, replay_s)


def _settle(receipt: "Receipt", truth: "Trace", work: Work, folder: Path) -> "Settled":
    """The referee's own run against what a node kept; after the difference nothing is compared."""
    from bcai.proof.bisection import Case
    from bcai.proof.execute import begin
    from bcai.proof.kept_evidence import KeptSide
    from bcai.proof.messages import Side
    from bcai.proof.settle import settle
    from bcai.proof.side import ReplayingSide

    first = begin(receipt.run, work.program, work.state)
    referee = ReplayingSide(work.program, work.feeder, work.executable, truth, {0: first})
    heads = {Side.A: truth.head, Side.B: receipt.trace.head}
    case = Case(receipt.run, work.program, heads)
    sides = {Side.A: referee, Side.B: KeptSide(receipt.trace, folder)}
    return settle(case, sides, time.perf_counter)


def _print(found: Found, work: Work, folders: Mapping[str, Path | None]) -> None:
    console = stdout_console()
    who = " and ".join(f"receipt {name}" for name in found.wrong)
    first, last = found.steps.start, found.steps.stop - 1
    console.print(
        f"WRONG: {who}, from checkpoint {found.checkpoint} on (steps {first} to {last}); "
        f"replayed on {work.backend} in {found.replay_s:.2f} s",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for name in found.wrong:
        if folders[name] is None:
            console.print(
                f"  {name}: for step and instruction give --evidence-{name.lower()}, "
                "the folder that its node kept",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    print_settled(found.settled, has_steps=True)


def _document(found: Found, work: Work) -> dict[str, Any]:
    return {
        "wrong": list(found.wrong),
        "checkpoint": found.checkpoint,
        "steps": [found.steps.start, found.steps.stop],
        "backend": work.backend,
        "replay_s": found.replay_s,
        "settled": {name: settled_document(each) for name, each in found.settled.items()},
    }
