"""What a node keeps: whole or not at all, within its bounds, and enough to defend a result."""

import os
from pathlib import Path

import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from tests.unit.proof.liars import WrongExecutable
from tests.unit.proof.small_run import Training, training

from bcai.base.errors import FormatError, NotFoundError
from bcai.cluster.node.evidence_folder import open_side
from bcai.cluster.node.evidence_shelf import (
    FIRST_STATE,
    RECEIPT,
    ROWS,
    Pins,
    forget_old,
    keep_job,
)
from bcai.cluster.node.kept_run import STATES_MAX, KeptRun, Progress
from bcai.proof.bisection import Case
from bcai.proof.execute import execute
from bcai.proof.messages import Side
from bcai.proof.receipt import encode_receipt
from bcai.proof.recorder import Recorder
from bcai.proof.settle import settle
from bcai.proof.side import ReplayingSide
from bcai.vm.backends.reference.backend import ReferenceBackend

SMALL = training()


def files_of(folder: Path, run: Training) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    (folder / "receipt").write_bytes(encode_receipt(run.receipt()))
    save_file(dict(run.data.columns), folder / "rows")
    save_file(dict(run.state), folder / "state")
    return {
        RECEIPT: folder / "receipt", ROWS: folder / "rows", FIRST_STATE: folder / "state",
    }  # fmt: skip


def test_what_is_kept_wins_the_dispute_against_a_liar(tmp_path: Path) -> None:
    keep_job(tmp_path / "job", files_of(tmp_path / "work", SMALL))
    node = open_side(tmp_path / "job", ReferenceBackend())
    wrong = WrongExecutable(SMALL.program, 7, len(SMALL.program.program.instructions) - 1)
    lie = SMALL.trace(wrong)
    liar = ReplayingSide(SMALL.program, SMALL.feeder(), wrong, lie, {0: SMALL.state})
    case = Case(SMALL.run, SMALL.program, {Side.A: SMALL.trace().head, Side.B: lie.head})
    verdict = settle(case, {Side.A: node, Side.B: liar}, lambda: 0.0).verdict
    assert (verdict.faulty, verdict.where.step) == ({Side.B}, 7)


def test_a_defence_goes_on_from_a_state_that_was_kept_on_the_way(tmp_path: Path) -> None:
    files = files_of(tmp_path / "work", SMALL)
    steps = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    save_file({f"state/{name}": each for name, each in steps[4].state.items()}, tmp_path / "five")
    del files[FIRST_STATE]
    keep_job(tmp_path / "job", files | {"states/5.safetensors": tmp_path / "five"})
    side = open_side(tmp_path / "job", ReferenceBackend())
    states = side.step_roots(1).states
    whole = ReplayingSide(
        SMALL.program, SMALL.feeder(), SMALL.compiled(), SMALL.trace(), {0: SMALL.state}
    )
    assert states == whole.step_roots(1).states
    with pytest.raises(NotFoundError, match="no state is kept from before step 3"):
        side.state(3)


def test_a_folder_that_lacks_something_or_is_damaged_is_refused(tmp_path: Path) -> None:
    files = files_of(tmp_path / "work", SMALL)
    keep_job(tmp_path / "job", {RECEIPT: files[RECEIPT]})
    with pytest.raises(NotFoundError, match=r"there is no .*rows.safetensors"):
        open_side(tmp_path / "job", ReferenceBackend())
    with pytest.raises(NotFoundError, match="there is no receipt"):
        open_side(tmp_path / "none", ReferenceBackend())
    files[ROWS].write_bytes(b"torn")
    keep_job(tmp_path / "other", files)
    with pytest.raises(FormatError, match=r"rows.safetensors"):
        open_side(tmp_path / "other", ReferenceBackend())


def test_what_cannot_be_kept_whole_is_not_kept(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    files = files_of(tmp_path / "work", SMALL)
    keep_job(shelf / "job", {**files, "more": tmp_path / "not there"})
    assert not (shelf / "job").exists()
    assert list(shelf.iterdir()) == []


def test_the_shelf_keeps_to_its_bounds(tmp_path: Path) -> None:
    def keep(name: str, at: float, size: int = 100) -> None:
        (tmp_path / "file").unlink(missing_ok=True)
        (tmp_path / "file").write_bytes(bytes(size))
        keep_job(tmp_path / "shelf" / name, {"file": tmp_path / "file"})
        os.utime(tmp_path / "shelf" / name, (at, at))

    def left() -> set[str]:
        return {folder.name for folder in (tmp_path / "shelf").iterdir()}

    shelf, pins = tmp_path / "shelf", Pins(tmp_path / "disputed")
    forget_old(shelf, pins, bytes_max=0, age_s_max=1.0, now=0.0)  # there is none yet
    for name, at in (("job_1", 100.0), ("job_2", 200.0), ("job_3", 300.0)):
        keep(name, at)
    forget_old(shelf, pins, bytes_max=300, age_s_max=1000.0, now=400.0)
    assert left() == {"job_1", "job_2", "job_3"}
    forget_old(shelf, pins, bytes_max=299, age_s_max=1000.0, now=400.0)
    assert left() == {"job_2", "job_3"}
    forget_old(shelf, pins, bytes_max=299, age_s_max=150.0, now=400.0)
    assert left() == {"job_3"}
    (shelf / ".job_4.17").mkdir()
    os.utime(shelf / ".job_4.17", (0, 0))
    forget_old(shelf, pins, bytes_max=1000, age_s_max=1e9, now=400.0)
    assert ".job_4.17" in left()  # a worker may be at it
    forget_old(shelf, pins, bytes_max=1000, age_s_max=1e9, now=1e6)
    assert left() == {"job_3"}


def test_what_is_in_dispute_stays_until_the_ruling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, pins = tmp_path / "shelf", Pins(tmp_path / "disputed")

    def fill() -> None:
        for at, name in enumerate(("job_1", "job_2", "job_3")):
            (tmp_path / "file").unlink(missing_ok=True)
            (tmp_path / "file").write_bytes(bytes(100))
            keep_job(shelf / name, {"file": tmp_path / "file"})
            os.utime(shelf / name, (at, at))

    def tidy(bytes_max: int, age_s_max: float = 1e9) -> set[str]:
        held = Pins(tmp_path / "disputed")
        forget_old(shelf, held, bytes_max=bytes_max, age_s_max=age_s_max, now=9.0)
        return {folder.name for folder in shelf.iterdir()}

    fill()
    pins.add("job_1", "dispute_1")
    assert Pins(tmp_path / "disputed").disputes() == {"job_1": "dispute_1"}  # after a restart
    assert tidy(200) == {"job_1", "job_3"}
    said = caplog.messages[-1]
    assert "the evidence of job_2 goes, a dispute about it would be lost" in said
    assert "300 B of at most 200 B, 100 B of it in dispute" in said
    assert tidy(50) == {"job_1"}  # it fills the shelf alone: nothing else is kept
    assert tidy(50, age_s_max=1.0) == {"job_1"}
    pins.remove("job_1")
    pins.remove("job_1")
    assert pins.disputes() == {}
    assert tidy(50) == set()


def test_states_on_the_way_are_thinned_out(tmp_path: Path) -> None:
    run = SMALL.with_run(checkpoint_every=1, steps=40)
    kept = KeptRun(tmp_path, run.run)
    recorder = Recorder(run.run)
    steps = execute(run.feeder(), run.program, run.compiled(), run.state, stop=30)
    for step in steps:
        recorder.record(*step)
        kept.write(Progress(step.state, recorder.checkpoints))
        assert len(kept.states()) <= STATES_MAX
    found = sorted(kept.states())
    assert found[-1] == 30
    assert found[0] < 20
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_later_attempt_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "file").unlink(missing_ok=True)
        (tmp_path / "file").write_bytes(content)
        keep_job(tmp_path / "shelf" / "job", {"file": tmp_path / "file"})
    assert [each.name for each in (tmp_path / "shelf").iterdir()] == ["job"]
    assert (tmp_path / "shelf" / "job" / "file").read_bytes() == b"two"
