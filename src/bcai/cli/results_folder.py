"""`--out DIR`: a result as files, in place of an earlier result and of nothing else."""

from dataclasses import dataclass
from pathlib import Path

from bcai.cli.curves_picture import FILE_NAME as CURVES
from bcai.cli.curves_picture import HOW_TO_GET_IT, can_draw, draw_curves
from bcai.jobs.states import JobState
from bcai.sdk.result import Result
from bcai.sdk.save import saving, write_result
from bcai.sdk.whole_files import earlier_files, earlier_record, finish_left


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written, by file name, and what is worth saying about it."""

    folder: Path
    files: tuple[str, ...]
    remarks: tuple[str, ...]


def save_to_folder(result: Result, folder: Path) -> Saved:
    """Write a result and the picture of its curves.

    The files of an earlier result in the same folder (its `result.json` names them) go when all new
    ones are there, but not those of a job that SUCCEEDED for one that did not. Other files stay;
    one that has to give way because of its name is mentioned.
    """
    if not result.succeeded and (kept := _better_one(result, folder)):
        return Saved(folder, (), (kept,))
    remarks: list[str] = []
    with saving(result, folder) as beside:
        others = {entry.name for entry in folder.iterdir()} - earlier_files(folder)
        names = {path.name for path in write_result(result, beside).values()}
        if result.metrics and not can_draw():
            remarks.append(HOW_TO_GET_IT)
        elif draw_curves(result.metrics, result.name, beside / CURVES):
            names.add(CURVES)
    replaced = sorted(names & others)
    if replaced:
        remarks.append(f"replaced in {folder}: {', '.join(replaced)}")
    return Saved(folder, tuple(sorted(names)), tuple(remarks))


def _better_one(result: Result, folder: Path) -> str:
    """Say that an earlier job's result stays, if that job succeeded."""
    finish_left(folder)
    earlier = earlier_record(folder)
    if earlier.get("status") != JobState.SUCCEEDED:
        return ""
    return (
        f"{folder} still has the result of {earlier['job_id']}, which SUCCEEDED; "
        f"what this job left: bcai jobs results {result.job_id} --out ANOTHER_FOLDER"
    )
