import errno
import json
from pathlib import Path

import pytest
from tests.unit.cli.sample_jobs import SUCCESS, failure, job

from bcai.base.errors import ResourceError
from bcai.cli import results_folder
from bcai.cli.results_folder import save_to_folder
from bcai.jobs.outcome import Outcome, Output
from bcai.sdk.history import Metric
from bcai.sdk.outputs import Outputs
from bcai.sdk.result import Result

METRICS: tuple[Metric, ...] = ({"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0})


async def no_fetch(digest: str) -> bytes:
    raise AssertionError(f"nothing to fetch for {digest}")


def result(*outputs: Output, metrics: tuple[Metric, ...] = METRICS) -> Result:
    view = job(Outcome(SUCCESS.move, SUCCESS.reason, outputs, jail=SUCCESS.jail))
    return Result(view, Outputs(outputs, no_fetch, blocking=True), "hello\n", metrics)


def failed() -> Result:
    return Result(job(failure("boom")), Outputs([], no_fetch, blocking=True), "boom\n")


def test_everything_is_there_and_the_metrics_are_lines(tmp_path: Path) -> None:
    saved = save_to_folder(result(Output("loss", "value", value=1.0)), tmp_path / "out")
    assert set(saved.files) >= {"result.json", "outputs.json", "metrics.jsonl", "logs.txt"}
    lines = (saved.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [2.0, 1.0]
    assert saved.remarks == ()


def test_the_curves_are_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    save_to_folder(result(), tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_name_of_a_metric_is_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    save_to_folder(result(metrics=({"step": 1, "cost $_$": 1.0},)), tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_folder, "can_draw", lambda: False)
    saved = save_to_folder(result(), tmp_path)
    assert "curves.png" not in saved.files
    assert "pip install matplotlib" in saved.remarks[0]


def test_a_job_without_metrics_has_no_curves(tmp_path: Path) -> None:
    assert "curves.png" not in save_to_folder(result(metrics=()), tmp_path).files


def test_an_earlier_result_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    save_to_folder(result(), tmp_path)
    (tmp_path / "notes.md").write_text("mine", encoding="utf-8")
    saved = save_to_folder(result(metrics=()), tmp_path)
    assert saved.remarks == ()
    assert not (tmp_path / "curves.png").exists()
    assert (tmp_path / "notes.md").read_text(encoding="utf-8") == "mine"


def test_a_result_that_cannot_be_saved_leaves_the_earlier_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_to_folder(result(Output("loss", "value", value=1.0)), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(results_folder, "can_draw", lambda: True)

    def no_room(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results_folder, "draw_curves", no_room)
    with pytest.raises(ResourceError, match="No space left") as caught:
        save_to_folder(result(Output("loss", "value", value=2.0)), tmp_path)
    assert "bcai jobs results" in caught.value.hint
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_job_that_failed_leaves_the_result_of_one_that_succeeded(tmp_path: Path) -> None:
    save_to_folder(result(Output("loss", "value", value=1.0)), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    saved = save_to_folder(failed(), tmp_path)
    assert saved.files == ()
    assert "which SUCCEEDED; what this job left: bcai jobs results job_" in saved.remarks[0]
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_a_failed_job_left_is_saved_where_no_better_result_is(tmp_path: Path) -> None:
    for _ in range(2):  # to an empty folder, and in place of another failed one
        assert "logs.txt" in save_to_folder(failed(), tmp_path).files
    assert (tmp_path / "logs.txt").read_text(encoding="utf-8") == "boom\n"
    assert save_to_folder(result(), tmp_path).remarks == ()
    assert (tmp_path / "logs.txt").read_text(encoding="utf-8") == "hello\n"


def test_a_file_that_has_to_give_way_is_mentioned(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text("mine", encoding="utf-8")
    saved = save_to_folder(result(), tmp_path)
    assert "outputs.json" in saved.remarks[0]


@pytest.mark.parametrize("record", ["[]", "{", '{"job_id": 1, "files": {"a": "../keep"}}'])
def test_a_record_that_is_not_ours_removes_nothing(tmp_path: Path, record: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "keep").write_text("mine", encoding="utf-8")
    (out / "result.json").write_text(record, encoding="utf-8")
    save_to_folder(result(), out)
    assert (tmp_path / "keep").read_text(encoding="utf-8") == "mine"
