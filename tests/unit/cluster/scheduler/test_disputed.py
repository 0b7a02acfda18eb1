"""Every open dispute is looked at, whatever becomes of the others; nobody's clock runs unseen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.cluster.scheduler.scheduler_samples import NOW

from bcai.base.errors import InputError, ResourceError
from bcai.cluster.scheduler import disputed
from bcai.cluster.scheduler.referee import Referee
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.jobs.dispute import DisputeRecord, asked

pytestmark = pytest.mark.anyio


def record(name: str) -> DisputeRecord:
    return DisputeRecord(name, "job_1", "n", "box", "ann", "key_2", 1, "ab" * 32, NOW, 60.0)


@dataclass
class Docket:
    """As much of a store as the judging of disputes uses; it counts what it is asked."""

    records: Sequence[DisputeRecord] = ()
    moved: list[str] = field(default_factory=list[str])
    restarts: list[int] = field(default_factory=list[int])
    looks: int = 0
    looks_max: int = 0

    async def open_disputes(self) -> list[DisputeRecord]:
        self.looks += 1
        return list(self.records)

    async def move_dispute(self, before: DisputeRecord, after: DisputeRecord) -> DisputeRecord:
        self.moved.append(before.id)
        return after

    async def restart_clocks(self) -> None:
        self.restarts.append(self.looks)

    async def wait_for_change(self, timeout_s: float, *, seen: int | None = None) -> int:
        del timeout_s, seen
        if self.looks >= self.looks_max:
            raise _EnoughError
        return self.looks


class _EnoughError(Exception):
    pass


class Failing(Referee):
    """A referee that fails over the disputes that have such a name."""

    async def next(self, record: DisputeRecord, now: float) -> DisputeRecord:
        failures: dict[str, Exception] = {
            "input": InputError("no tensor has this shape"),
            "memory": ResourceError("too large"),
            "bug": OverflowError("a number of a side's"),
        }
        if record.id in failures:
            raise failures[record.id]
        return asked(record, "00", now)


async def test_a_dispute_over_which_the_referee_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disputed, "LOOK_S", 0.0)
    docket = Docket([record(name) for name in ("input", "memory", "bug", "sound")])
    store, blobs = cast("JobStore", docket), cast("BlobStore", docket)
    await disputed.empty_disputed(store, blobs, Failing(store, blobs), now=NOW)
    assert docket.moved == ["sound"]
    for name in ("input", "memory", "bug"):
        assert name in caplog.text


async def looked(
    monkeypatch: pytest.MonkeyPatch, docket: Docket, clock: Sequence[float]
) -> list[int]:
    """Let disputes be looked at, each look at the next time of a clock; when clocks restarted."""
    times = iter(clock)
    monkeypatch.setattr(disputed, "LOOK_S", 0.0)
    docket.looks_max = len(clock)
    store, blobs = cast("JobStore", docket), cast("BlobStore", docket)
    with pytest.raises(_EnoughError):
        await disputed.judge_disputes(store, blobs, clock=lambda: next(times))
    return docket.restarts


async def test_clocks_restart_with_the_referee_and_after_the_machine_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [NOW, NOW + 1, NOW + 2, NOW + 7200, NOW + 7201]
    assert await looked(monkeypatch, Docket(), clock) == [0, 3]


async def test_clocks_restart_once_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(monkeypatch, Docket(), [NOW, NOW - 600, NOW - 599]) == [0, 1]
