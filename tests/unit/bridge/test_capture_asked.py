"""A script gets its end of the capture's channel once, in a jail that has sockets, with a limit."""

import json
import os
import socket

import pytest

from bcai.base.units import MIB
from bcai.bridge.sandbox.capture_asked import AskedCapture
from bcai.bridge.sandbox.level import JailReport

AT_A, AT_C = JailReport("A", ()), JailReport("C", ())


class FakeCapturer:
    """Counts how often it began, and hands out the end of a pipe."""

    memory_bytes = 512 * MIB
    begun = 0

    def begin(self) -> int:
        self.begun += 1
        read, write = os.pipe()
        os.close(write)
        return read


def asked(report: JailReport, capturer: FakeCapturer | None, times: int) -> tuple[str, int]:
    """The last answer, and how many files came with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        capture = AskedCapture(ours, capturer, 1024 * MIB)
        text, files = b"", list[int]()
        for _ in range(times):
            capture.ask(report)
            text, files, _, _ = socket.recv_fds(theirs, 4096, 2)
            for file in files:
                os.close(file)
        return json.loads(text).get("message", ""), len(files)


def test_the_first_question_is_answered_with_a_channel_and_a_second_is_refused() -> None:
    capturer = FakeCapturer()
    assert asked(AT_A, capturer, 1) == ("", 1)
    assert asked(AT_A, capturer, 2) == ("nothing is captured of this job", 0)
    assert capturer.begun == 2


@pytest.mark.parametrize(
    ("report", "capturer", "sentence"),
    [
        (AT_C, FakeCapturer(), "capture needs a jail of level A or B; this one has level C"),
        (AT_A, None, "nothing is captured of this job"),
    ],
)
def test_what_cannot_begin_is_said(
    report: JailReport, capturer: FakeCapturer | None, sentence: str
) -> None:
    assert asked(report, capturer, 1) == (sentence, 0)


def test_script_and_tensors_share_one_limit_from_the_first_question_on() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        capture = AskedCapture(ours, FakeCapturer(), 1024 * MIB)
        assert not capture.leaves_less_than(1024 * MIB)
        capture.ask(AT_A)
        assert not capture.leaves_less_than(512 * MIB)
        assert capture.leaves_less_than(512 * MIB + 1)
