"""After a time in which nobody could call, no job is taken from its node at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.cluster.scheduler.scheduler_samples import NOW

from bcai.base.errors import DependencyError
from bcai.cluster.scheduler import main
from bcai.cluster.store.protocol import JobStore
from bcai.settings import Settings

pytestmark = pytest.mark.anyio

LEASE_S = 10.0


class _EnoughError(Exception):
    pass


@dataclass
class Rounds:
    """A store without jobs: which rounds asked it for those that a node has."""

    away: range = range(0)  # the rounds in which it fails
    number: int = -1
    looked: list[int] = field(default_factory=list[int])

    async def nodes(self, *, online_within_s: float) -> list[Any]:
        del online_within_s
        if self.number in self.away:
            raise DependencyError("the database is away")
        return []

    async def running(self) -> list[Any]:
        if self.number not in self.away:
            self.looked.append(self.number)
        return []

    async def queued(self, limit: int, *, room: object = None) -> list[Any]:
        del limit, room
        return []

    async def wait_for_change(self, timeout_s: float, *, seen: int) -> int:
        del timeout_s
        return seen


async def looked(monkeypatch: pytest.MonkeyPatch, rounds: Rounds, times: Sequence[float]) -> None:
    def clock() -> float:
        rounds.number += 1
        if rounds.number == len(times):
            raise _EnoughError
        return times[rounds.number]

    monkeypatch.setattr(main, "ROUND_S_MIN", 0.0)
    monkeypatch.setattr(main, "FAULT_WAIT_S_MAX", 0.0)
    settings = Settings(lease_s=LEASE_S)
    with pytest.raises(_EnoughError):
        await main.schedule(settings, cast("JobStore", rounds), clock=clock)


async def test_nodes_have_a_lease_to_call_after_a_start_and_after_the_machine_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = [NOW, NOW + 6, NOW + 12, NOW + 18, NOW + 7200, NOW + 7206, NOW + 7212]
    rounds = Rounds()
    await looked(monkeypatch, rounds, times)
    assert rounds.looked == [2, 3, 6]


async def test_nodes_have_a_lease_to_call_after_the_store_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = [NOW + 6 * each for each in range(10)]
    rounds = Rounds(away=range(3, 6))
    await looked(monkeypatch, rounds, times)
    assert rounds.looked == [2, 8, 9]
