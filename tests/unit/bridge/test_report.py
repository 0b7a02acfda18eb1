from typing import cast

import numpy as np
import pytest

from bcai.bridge import report


class Recorder:
    """Keeps what a script reports, as the guest's channel would send it."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def metric(self, step: int | None, values: dict[str, float]) -> None:
        self.seen.append(("metric", step, values))

    def progress(self, fraction: float) -> None:
        self.seen.append(("progress", fraction))

    def output(self, name: str, value: object) -> None:
        self.seen.append(("output", name, value))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(report, "_reporter", None)  # put back afterwards
    found = Recorder()
    report.report_to(found)
    return found


def test_outside_of_a_job_a_metric_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    report.log(step=3, loss=0.12)
    report.log(accuracy=1)
    report.progress(0.5)
    report.output("weights", [1.0])
    assert capsys.readouterr().out == "step 3 loss 0.12\naccuracy 1\n"


def test_numbers_of_other_libraries_are_numbers(recorder: Recorder) -> None:
    step = cast("int", np.int64(2))
    report.log(step=step, a=np.float32(0.5), b=np.array(3), c=True)
    assert recorder.seen == [("metric", 2, {"a": 0.5, "b": 3.0, "c": 1.0})]


def test_tensors_with_one_element_are_numbers(recorder: Recorder) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `ml`")
    report.log(loss=torch.tensor(0.5, requires_grad=True), one=torch.ones(1, 1))
    assert recorder.seen == [("metric", None, {"loss": 0.5, "one": 1.0})]


@pytest.mark.parametrize("value", ["x", None, [1.0], np.ones(3), 1j])
def test_what_is_no_number_is_named(value: object, recorder: Recorder) -> None:
    with pytest.raises(TypeError, match=r"loss is .*expected a number"):
        report.log(loss=value)
    assert recorder.seen == []


@pytest.mark.parametrize("step", [1.5, "3", True, np.ones(2)])
def test_a_step_is_a_whole_number(step: int) -> None:
    with pytest.raises(TypeError, match=r"step=.*expected a whole number"):
        report.log(step=step, loss=1.0)


def test_progress_is_clamped(recorder: Recorder) -> None:
    for fraction in (-1, 0.5, 7):
        report.progress(fraction)
    assert recorder.seen == [("progress", 0.0), ("progress", 0.5), ("progress", 1.0)]
    with pytest.raises(ValueError, match="nan"):
        report.progress(float("nan"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 201])
def test_names_that_could_be_paths_are_refused(name: str, recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="output"):
        report.output(name, 1)
    report.output("curves.png", b"1")
    assert recorder.seen == [("output", "curves.png", b"1")]
