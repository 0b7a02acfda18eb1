import threading

import pytest

from bcai.cluster.node.outbox import LOG_BYTES_MAX, Outbox
from bcai.cluster.node.outcome import failed_here
from bcai.jobs.outcome import ReasonCode
from bcai.wire.nodes import Finished, Log, Progress, Report, Started

ENDING = Finished(at=9.0, outcome=failed_here(ReasonCode.NODE_ERROR, "no"))


def make_outbox(**bounds: int) -> Outbox:
    return Outbox("job_1", "token", lambda: None, **bounds)


def log(text: str, stream: str = "stdout") -> Log:
    return Log(at=1.0, stream="stdout" if stream == "stdout" else "stderr", text=text)


def numbers(reports: list[Report]) -> list[int]:
    return [report.number for report in reports]


def test_reports_are_numbered_from_one_and_taken_once_per_connection() -> None:
    outbox = make_outbox()
    outbox.put(Started(at=1.0))
    outbox.put(Progress(at=2.0, fraction=0.5))
    assert numbers(outbox.take_unsent(10)) == [1, 2]
    assert outbox.take_unsent(10) == []


def test_a_new_connection_carries_what_was_not_acknowledged() -> None:
    outbox = make_outbox()
    for step in range(4):
        outbox.put(Progress(at=float(step), fraction=0.1))
    first = outbox.take_unsent(10)
    outbox.acknowledge(2)
    outbox.rewind()
    assert outbox.take_unsent(10) == first[2:]


def test_lines_that_nobody_has_seen_are_joined() -> None:
    outbox = make_outbox()
    outbox.put(log("a\n"))
    outbox.put(log("b\n"))
    outbox.put(log("error\n", "stderr"))
    bodies = [report.body for report in outbox.take_unsent(10)]
    assert bodies == [log("a\nb\n"), log("error\n", "stderr")]


def test_a_report_that_was_ever_sent_never_changes() -> None:
    outbox = make_outbox()
    outbox.put(log("a\n"))
    sent = outbox.take_unsent(10)
    outbox.rewind()
    outbox.put(log("b\n"))
    again = outbox.take_unsent(10)
    assert again[:1] == sent
    assert numbers(again) == [1, 2]


def test_joined_lines_stay_within_their_bound() -> None:
    outbox = make_outbox()
    half = "x" * (LOG_BYTES_MAX // 2 + 1)
    outbox.put(log(half))
    outbox.put(log(half))
    assert numbers(outbox.take_unsent(10)) == [1, 2]


@pytest.mark.parametrize("bounds", [{"reports_max": 1}, {"bytes_max": 100}])
def test_a_full_outbox_holds_the_job_back_until_there_is_room(bounds: dict[str, int]) -> None:
    outbox = make_outbox(**bounds)
    outbox.put(Started(at=1.0))
    writer = threading.Thread(target=outbox.put, args=(Progress(at=2.0, fraction=0.5),))
    writer.start()
    assert numbers(outbox.take_unsent(10)) == [1]
    outbox.acknowledge(1)
    writer.join(60)
    assert not writer.is_alive()
    assert numbers(outbox.take_unsent(10)) == [2]


def test_the_last_report_finds_room_in_a_full_outbox() -> None:
    outbox = make_outbox(reports_max=1)
    outbox.put(Started(at=1.0))
    outbox.put(ENDING)
    assert numbers(outbox.take_unsent(10)) == [1, 2]


def test_closing_frees_a_job_that_waits_and_forgets_everything() -> None:
    outbox = make_outbox(reports_max=1)
    outbox.put(Started(at=1.0))
    writer = threading.Thread(target=outbox.put, args=(log("late\n"),))
    writer.start()
    outbox.close()
    writer.join(60)
    assert not writer.is_alive()
    assert outbox.is_empty
    outbox.put(ENDING)
    assert outbox.take_unsent(10) == []


def test_each_report_rings() -> None:
    rings: list[None] = []
    outbox = Outbox("job_1", "token", lambda: rings.append(None))
    outbox.put(Started(at=1.0))
    outbox.put(log("a\n"))
    assert len(rings) == 2
