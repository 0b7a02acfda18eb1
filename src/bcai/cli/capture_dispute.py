"""Two receipts of one captured script that disagree, on the terminal: down to the instruction."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import EXIT_OK
from bcai.cli.capture_receipt import backend_of, given_file, given_values, read_sound
from bcai.cli.make_folder import make_folder
from bcai.cli.settled import print_settled, print_unused, settled_document, unused_evidence
from bcai.cli.terminal import print_json, stdout_console

if TYPE_CHECKING:
    from bcai.proof.capture_dispute import Part, Split
    from bcai.proof.capture_receipt import CaptureReceipt
    from bcai.proof.messages import Answerer
    from bcai.proof.settle import Settled
    from bcai.vm.compiler.backend import Backend
    from bcai.vm.isa.types import Array


@dataclass(frozen=True)
class Found:
    """Who is wrong at which leaf; and where exactly, with its node's evidence."""

    wrong: tuple[str, ...]
    leaf: int
    settled: "Mapping[str, Settled]"


def dispute_captured(
    files: Mapping[str, Path],
    folders: Mapping[str, Path | None],
    data: Path | None,
    backend: str | None,
    evidence: Mapping[str, Path | None],
    *,
    json: bool,
) -> int:
    """Say where the receipts A and B part, and which of them is wrong there.

    Parameters
    ----------
    folders
        What the nodes kept of the part, as `keep_part` writes it.
    evidence
        Those of them that somebody named, rather than that they were found.
    """
    from bcai.proof.capture_dispute import first_difference

    receipts = {name: read_sound(file) for name, file in files.items()}
    split = first_difference(*receipts.values())
    found = None
    if not split.reason:
        beside = next((each for each in map(given_file, files.values()) if each), None)
        given = given_values(data or beside, receipts["A"])
        found = _judge(receipts, split, given, backend_of(backend), folders)
    if found is None:
        given = {"--data": data, "--backend": backend}
        unused = [*(name for name, value in given.items() if value), *unused_evidence(evidence, ())]
        reason = "nothing is run again for that"
    else:
        unused, reason = unused_evidence(evidence, found.wrong), "that receipt is right here"
    if json:
        print_json({**_document(split, found), "unused": unused})
    else:
        _print(split, found, folders)
        print_unused(unused, reason)
    return EXIT_OK


def keep_part(
    file: Path, data: Path | None, backend: str | None, folder: Path, leaf: int, *, json: bool
) -> int:
    """Keep what a dispute about one part needs, as this machine computes it."""
    from bcai.proof.capture_dispute import inputs_of, part_of
    from bcai.proof.kept_evidence import keep_evidence

    receipt = read_sound(file)
    part = part_of(receipt, leaf)
    chosen = backend_of(backend)
    given = given_values(data or given_file(file), receipt)
    kept = _folder_of(folder, leaf)
    make_folder(kept, "--keep")
    side = part.side(inputs_of(receipt, given, chosen, leaf), chosen)
    keep_evidence(kept, side, 0, 0)
    names = sorted(each.name for each in kept.iterdir())
    if json:
        print_json({"folder": str(kept), "files": names})
    else:
        stdout_console().print(f"kept in {kept}: {', '.join(names)}", markup=False)
    return EXIT_OK


def _folder_of(folder: Path, leaf: int) -> Path:
    return folder / f"part-{leaf}"


def _judge(
    receipts: "Mapping[str, CaptureReceipt]",
    split: "Split",
    given: "Mapping[str, Array]",
    backend: "Backend",
    folders: Mapping[str, Path | None],
) -> Found:
    """Run up to the first difference; whoever differs from that is wrong."""
    from bcai.proof.capture_dispute import inputs_of, part_of
    from bcai.proof.capture_replay import replay_capture

    at = replay_capture(receipts["A"], given, backend, stop=split.leaf + 1).difference
    if at is not None and at.leaf < split.leaf:  # before they part, both say the same
        return Found(tuple(receipts), at.leaf, {})
    parts = {name: part_of(each, split.leaf) for name, each in receipts.items()}
    truth = parts["A"] if at is None else replace(parts["A"], results=at.results)
    wrong = tuple(name for name, each in parts.items() if each.results != truth.results)
    settled: dict[str, Settled] = {}
    for name in wrong:
        folder = folders[name]
        if folder is not None and _folder_of(folder, split.leaf).is_dir():
            if at is None:
                inputs = inputs_of(receipts["A"], given, backend, split.leaf)
            else:
                inputs = at.inputs
            referee = truth.side(inputs, backend)
            settled[name] = _settle(truth, parts[name], referee, _folder_of(folder, split.leaf))
    return Found(wrong, split.leaf, settled)


def _settle(truth: "Part", claim: "Part", referee: "Answerer", folder: Path) -> "Settled":
    """The referee's own run of the part against what a node kept of it."""
    from bcai.proof.bisection import Case
    from bcai.proof.kept_evidence import KeptSide
    from bcai.proof.messages import Side
    from bcai.proof.settle import settle

    heads = {Side.A: truth.trace.head, Side.B: claim.trace.head}
    sides = {Side.A: referee, Side.B: KeptSide(claim.trace, folder)}
    return settle(Case(claim.run, claim.program, heads), sides, time.perf_counter)


def _print(split: "Split", found: Found | None, folders: Mapping[str, Path | None]) -> None:
    console = stdout_console()
    console.print(
        f"the traces part at leaf {split.leaf}, found with {split.compared} pairs of hashes",
        markup=False,
    )
    if found is None:
        console.print(split.reason, markup=False, soft_wrap=True)
        return
    who = " and ".join(f"receipt {name}" for name in found.wrong)
    console.print(f"WRONG: {who}, at leaf {found.leaf}: its part comes out otherwise", markup=False)
    for name in found.wrong:
        if name not in found.settled:
            folder = folders[name]
            lacks = f"there is no part-{found.leaf} in {folder}; " if folder is not None else ""
            console.print(
                f"  {name}: {lacks}for the instruction give --evidence-{name.lower()}, what its "
                f"node kept with `bcai replay FOLDER --keep EVIDENCE --leaf {found.leaf}`",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    print_settled(found.settled, has_steps=False)


def _document(split: "Split", found: Found | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "leaf": split.leaf if found is None else found.leaf,
        "compared": split.compared,
        "reason": split.reason,
        "wrong": [] if found is None else list(found.wrong),
    }
    settled: Mapping[str, Settled] = {} if found is None else found.settled
    document["settled"] = {name: settled_document(each) for name, each in settled.items()}
    return document
