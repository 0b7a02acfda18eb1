"""How a job ended: told, raised, and kept in a folder."""

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from bcai.base.digest import digest_of
from bcai.base.errors import (
    InputError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobTimedOutError,
    ResourceError,
)
from bcai.bridge.tensor_file import TensorFile
from bcai.jobs.outcome import Output, ReasonCode
from bcai.jobs.states import JobState, Move
from bcai.sdk.history import Metric
from bcai.sdk.outputs import Outputs
from bcai.sdk.result import Result
from bcai.sdk.save import free_name

from .fake_gateway import job_view, outcome

WEIGHT = np.arange(4, dtype=np.float32)
MODEL = save({"0.weight": WEIGHT})
ARRAY = save({"value": WEIGHT})
BLOBS = {digest_of(content): content for content in (MODEL, ARRAY, b"png")}


async def fetch(digest: str) -> bytes:
    return BLOBS[digest]


def result(
    *items: Output, metrics: tuple[Metric, ...] = (), logs: str = "", warnings: tuple[str, ...] = ()
) -> Result:
    view = job_view(outcome=outcome(outputs=items))
    return Result(view, Outputs(items, fetch, blocking=True), logs, metrics, warnings)


def failed(state: JobState, code: ReasonCode, *, user_line: int | None = None) -> Result:
    ended = outcome(
        Move.FAIL, code, "ZeroDivisionError: division by zero", hint="mind it", user_line=user_line
    )
    view = job_view(state, outcome=ended, code="x = 0\ny = 1 / x\n")
    return Result(view, Outputs([], fetch, blocking=True), logs="before\n")


def test_it_tells_how_the_job_ended() -> None:
    ended = result(Output("loss", "value", value=0.5), logs="hello\n")
    assert (ended.status, ended.succeeded, ended.wall_s) == ("SUCCEEDED", True, 1.5)
    assert ended.reason is not None
    assert ended.reason.code == "job.succeeded"
    assert "loss" in repr(ended)
    ended.check()


@pytest.mark.parametrize(
    ("state", "code", "error"),
    [
        (JobState.FAILED, ReasonCode.EXCEPTION, JobFailedError),
        (JobState.CANCELLED, ReasonCode.CANCELLED, JobCancelledError),
        (JobState.TIMED_OUT, ReasonCode.LIMIT_WALL_TIME, JobTimedOutError),
    ],
)
def test_a_failure_is_raised_with_all_that_helps(
    state: JobState, code: ReasonCode, error: type[JobError]
) -> None:
    ended = failed(state, code, user_line=2)
    with pytest.raises(error) as caught:
        ended.check()
    assert "division by zero" in str(caught.value)
    assert "job.py:2: y = 1 / x" in str(caught.value)
    assert caught.value.hint == "mind it"
    assert "hint: mind it" in caught.value.__notes__
    assert caught.value.result is ended
    assert caught.value.result.logs == "before\n"


def test_training_metrics_sum_it_up() -> None:
    ended = result(
        Output("loss", "value", value=9.0),
        Output("accuracy", "value", value=0.75),
        Output("done", "value", value=True),
        Output("name", "value", value="net"),
        Output("weight", "array", digest=digest_of(ARRAY)),
        metrics=({"step": 0, "loss": 2.0, "rate": 0.1}, {"step": 1, "loss": 1.0}),
    )
    assert ended.training_metrics == {
        "loss": 1.0,
        "rate": 0.1,
        "accuracy": 0.75,
        "status": "SUCCEEDED",
        "wall_s": 1.5,
    }


def test_it_is_kept_in_a_folder(tmp_path: Path) -> None:
    ended = result(
        Output("loss", "value", value=0.5),
        Output("model", "state_dict", digest=digest_of(MODEL)),
        Output("w", "array", digest=digest_of(ARRAY)),
        Output("plots/curve.png", "file", digest=digest_of(b"png")),
        metrics=({"step": 0, "loss": math.nan},),
        logs="hello\n",
        warnings=("no ledger: nothing was paid",),
    )
    folder = tmp_path / "a" / "out"
    written = ended.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "logs.txt",
        "metrics.jsonl",
        "model.safetensors",
        "outputs.json",
        "plots_curve.png",
        "result.json",
        "w.npy",
    ]
    assert set(written.values()) == set(folder.iterdir())
    np.testing.assert_array_equal(
        load((folder / "model.safetensors").read_bytes())["0.weight"], WEIGHT
    )
    np.testing.assert_array_equal(np.load(folder / "w.npy"), WEIGHT)
    assert json.loads((folder / "outputs.json").read_text()) == {"loss": 0.5}
    assert json.loads((folder / "metrics.jsonl").read_text()) == {"step": 0, "loss": "nan"}
    summary = json.loads((folder / "result.json").read_text())
    assert summary["status"] == "SUCCEEDED"
    assert summary["files"]["plots/curve.png"] == "plots_curve.png"
    assert summary["warnings"] == ["no ledger: nothing was paid"]


def test_an_array_that_no_npy_file_holds_is_kept_as_it_was_stored(tmp_path: Path) -> None:
    eight = TensorFile({"value": np.array([1, -2], ml_dtypes.float8_e4m3fn)}).content()
    unknown = eight.replace(b"F8_E4M3", b"F8_E8M0")
    contents = {"eight": eight, "unknown": unknown, "w": ARRAY}
    items = [Output(name, "array", digest=digest_of(each)) for name, each in contents.items()]

    async def fetched(digest: str) -> bytes:
        return next(each for each in contents.values() if digest_of(each) == digest)

    view = job_view(outcome=outcome(outputs=tuple(items)))
    written = Result(view, Outputs(items, fetched, blocking=True)).save(tmp_path)
    assert written["eight"] == tmp_path / "eight.safetensors"
    assert written["eight"].read_bytes() == eight
    assert written["unknown"].read_bytes() == unknown
    np.testing.assert_array_equal(np.load(written["w"]), WEIGHT)


def test_a_second_save_replaces_the_first(tmp_path: Path) -> None:
    result(Output("w", "array", digest=digest_of(ARRAY)), logs="first").save(tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    result(Output("loss", "value", value=2), logs="second").save(tmp_path)
    assert (tmp_path / "logs.txt").read_text() == "second"
    assert not (tmp_path / "w.npy").exists(), "it is no part of the second"
    assert len(list(tmp_path.iterdir())) == 5


def test_an_output_may_have_the_name_of_the_receipt(tmp_path: Path) -> None:
    ended = replace(
        outcome(outputs=(Output("receipt", "array", digest=digest_of(ARRAY)),)),
        receipt=digest_of(b"png"),
    )
    outputs = Outputs(ended.outputs, fetch, blocking=True)
    Result(job_view(outcome=ended), outputs, "").save(tmp_path)
    files = json.loads((tmp_path / "result.json").read_text())["files"]
    assert files == {"receipt": "receipt.npy", "receipt.bcai": "receipt.bcai"}
    assert (tmp_path / "receipt.bcai").read_bytes() == b"png"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file'"):
        result().save(tmp_path / "file")


def test_a_save_that_fails_leaves_the_earlier_result_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(Output("w", "array", digest=digest_of(ARRAY)), logs="first").save(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    synced = iter(range(2))  # so many files of the new result fit

    def fills_up(descriptor: int) -> None:
        if next(synced, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fills_up)
    model = Output("model", "state_dict", digest=digest_of(MODEL))
    with pytest.raises(ResourceError, match="No space left"):
        result(model, logs="second").save(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_changes(tmp_path: Path) -> None:
    result(Output("loss", "value", value=1), logs="first").save(tmp_path)
    (tmp_path / "w.npy").mkdir()
    with pytest.raises(InputError, match=r"w\.npy': a folder has this name"):
        result(Output("w", "array", digest=digest_of(ARRAY)), logs="second").save(tmp_path)
    assert (tmp_path / "logs.txt").read_text() == "first"
    assert (tmp_path / "result.json").is_file()


@example([".hidden", "..", "../../etc/passwd", "a/b", "a_b", "RESULT.json"], "")
@given(st.lists(st.text(max_size=300), max_size=8), st.sampled_from(["", ".npy", ".safetensors"]))
def test_any_names_become_distinct_plain_file_names(names: list[str], suffix: str) -> None:
    taken = {"result.json"}
    made = [free_name(name, suffix, taken) for name in names]
    assert len({name.casefold() for name in made} | {"result.json"}) == len(made) + 1
    for name in made:
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) < 256


def test_a_full_disk_says_where_the_result_still_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ended = result(Output("w", "array", digest=digest_of(ARRAY)))
    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(ResourceError, match="No space left") as caught:
        ended.save(tmp_path)
    assert f"bcai jobs results {ended.job_id} --out" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
