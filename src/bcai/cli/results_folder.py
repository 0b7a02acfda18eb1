"""`--out DIR`: a result as files, in place of an earlier result and of nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bcai.cli.curves_picture import FILE_NAME as CURVES
from bcai.cli.curves_picture import HOW_TO_GET_IT, can_draw, draw_curves
from bcai.sdk.result import Result
from bcai.sdk.save import saving, write_result
from bcai.sdk.whole_files import RECORD

_ALWAYS = (RECORD, "outputs.json", "metrics.jsonl", "logs.txt", CURVES)


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written, by file name, and what is worth saying about it."""

    folder: Path
    files: tuple[str, ...]
    remarks: tuple[str, ...]


def save_to_folder(result: Result, folder: Path) -> Saved:
    """Write a result and the picture of its curves.

    The files of an earlier result in the same folder (its `result.json` names them) go when all new
    ones are there. Other files stay; one that has to give way because of its name is mentioned.
    """
    earlier = set(_earlier_files(folder))
    others = {entry.name for entry in folder.iterdir()} - earlier if folder.is_dir() else set[str]()
    remarks: list[str] = []
    with saving(result, folder, earlier) as beside:
        names = {path.name for path in write_result(result, beside).values()}
        if result.metrics and not can_draw():
            remarks.append(HOW_TO_GET_IT)
        elif draw_curves(result.metrics, result.name, beside / CURVES):
            names.add(CURVES)
    replaced = sorted(names & others)
    if replaced:
        remarks.append(f"replaced in {folder}: {', '.join(replaced)}")
    return Saved(folder, tuple(sorted(names)), tuple(remarks))


def _earlier_files(folder: Path) -> list[str]:
    """Names of the files that an earlier run wrote; only plain names in this very folder."""
    try:
        record: object = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(record, dict) or "job_id" not in record:
        return []
    files = cast("dict[str, object]", record).get("files")
    named = list(cast("dict[str, object]", files).values()) if isinstance(files, dict) else []
    plain = [name for name in named if isinstance(name, str) and Path(name).name == name]
    return [*plain, *_ALWAYS]
