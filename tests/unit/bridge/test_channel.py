"""The job's side of the control channel: what it keeps, and what is too much."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcai.bridge.guest.channel import Channel
from bcai.bridge.guest.encode import Encoded, NotKept

LIMIT = 100


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    """One whose messages nobody reads, with room in its file beyond the limit."""
    control, outputs = (
        os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("control", "outputs")
    )
    os.ftruncate(outputs, 10 * LIMIT)
    yield Channel(control, outputs, LIMIT)
    os.close(control)
    os.close(outputs)


def test_threads_together_stay_within_the_limit(channel: Channel) -> None:
    writing, finish, refused = threading.Event(), threading.Event(), list[NotKept]()

    def slow(_file: int, _offset: int) -> None:
        writing.set()
        finish.wait()

    def second() -> None:
        try:
            channel.keep("second", Encoded("file", LIMIT, lambda _file, _offset: None))
        except NotKept as error:
            refused.append(error)

    threads = [
        threading.Thread(target=channel.keep, args=("first", Encoded("file", LIMIT, slow))),
        threading.Thread(target=second),
    ]
    threads[0].start()
    writing.wait()
    threads[1].start()
    threads[1].join(0.05)  # it waits for the first one, or has looked already
    finish.set()
    for each in threads:
        each.join()
    assert len(refused) == 1
    assert refused[0].too_large
