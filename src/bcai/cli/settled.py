"""How a dispute ended: as JSON, and line by line on the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bcai.cli.terminal import stdout_console

if TYPE_CHECKING:
    from pathlib import Path

    from bcai.proof.settle import Settled


def settled_document(settled: "Settled") -> dict[str, Any]:
    """Who lied about what, and what it took."""
    verdict = settled.verdict
    return {
        "step": verdict.where.step,
        "leaf": verdict.where.leaf,
        "place": verdict.place,
        "lies": {
            side.value: {"code": lie.code, "message": str(lie)}
            for side, lie in verdict.lies.items()
        },
        "messages": settled.messages,
        "bytes": settled.nbytes,
        "seconds": settled.seconds,
    }


def print_settled(found: "Mapping[str, Settled]", *, has_steps: bool) -> None:
    """Print a line for each lie, by receipt; a captured script's part has one step alone."""
    console = stdout_console()
    for name, settled in found.items():
        verdict = settled.verdict
        place = verdict.place or ("no leaf" if has_steps else "no leaf of the part")
        where = f"step {verdict.where.step}, {place}" if has_steps else place
        for lie in verdict.lies.values():
            console.print(
                f"  {name}: {where}: {lie} [{lie.code}]; {settled.messages} messages, "
                f"{settled.nbytes} bytes, {settled.seconds:.2f} s",
                markup=False, soft_wrap=True,
            )  # fmt: skip


def unused_evidence(given: "Mapping[str, Path | None]", wrong: Sequence[str]) -> list[str]:
    """The options that brought evidence of receipts that nobody calls wrong."""
    return [
        f"--evidence-{name.lower()}"
        for name, folder in given.items()
        if folder is not None and name not in wrong
    ]


def print_unused(options: Sequence[str], reason: str) -> None:
    """Say which options had nothing to do."""
    if options:
        stdout_console().print(
            f"  not looked at: {', '.join(options)}: {reason}", markup=False, soft_wrap=True
        )
