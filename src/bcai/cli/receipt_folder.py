"""A receipt with what lies beside it: a folder that `Trained.save`, `--out` or a node has left.

The node's own folder of a job is `evidence/JOB` in its home; its form stands in
`cluster/node/evidence_folder.py`.
"""

from dataclasses import dataclass
from pathlib import Path

from bcai.base.errors import NotFoundError

RECEIPT = "receipt.bcai"
_DATA = ("rows.safetensors", "inputs.safetensors")
_STATE = ("first_state.safetensors", "inputs.safetensors")


@dataclass(frozen=True, slots=True)
class ReceiptFolder:
    """What was found.

    Attributes
    ----------
    done
        Steps that are done in `state`.
    evidence
        Where the steps and leaves are that a node has kept, if some are; of a captured script
        in a folder `part-N` for each part.
    """

    receipt: Path
    data: Path | None = None
    state: Path | None = None
    done: int = 0
    evidence: Path | None = None


def look_around(path: Path) -> ReceiptFolder:
    """Take a receipt, or a folder with one and what its run starts from.

    Raises
    ------
    NotFoundError
        It is a folder without a receipt.
    """
    if not path.is_dir():
        return ReceiptFolder(path)
    receipt = path / RECEIPT
    if not receipt.is_file():
        raise NotFoundError(
            f"there is no {RECEIPT} in {str(path)!r}",
            hint="expected a receipt, or a folder that a job's results were saved to",
        )
    state, done = _first(path, _STATE), 0
    later = sorted(
        (int(file.stem), file)
        for file in (path / "states").glob("*.safetensors")
        if file.stem.isdecimal()
    )
    if state is None and later:
        done, state = later[0]
    kept = (*path.glob("checkpoint-*.steps"), *path.glob("part-*/checkpoint-*.steps"))
    evidence = path if kept else None
    return ReceiptFolder(receipt, _first(path, _DATA), state, done, evidence)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
