"""How far a training is: a line that moves on a terminal, lines that stay elsewhere."""

from io import StringIO

from bcai.sdk.training_progress import ProgressLine


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: StringIO, times: list[float]) -> str:
    """What is written of steps 10, 20, ... of 40 at these times."""
    clock = iter([0.0, *times])
    line = ProgressLine(stream, lambda: next(clock))
    for place in range(len(times)):
        line(10 * (place + 1), 40, {"loss": 0.5})
    return stream.getvalue()


def test_a_terminal_has_one_line_with_the_time_that_is_left() -> None:
    *_, third, last = told(Screen(), [1, 2, 3, 4]).split("\r\x1b[K")
    assert third == "step 30 of 40, loss 0.5, 1.0 s left"
    assert last == "step 40 of 40, loss 0.5\n"


def test_a_log_has_a_line_every_half_minute() -> None:
    assert told(StringIO(), [1, 2, 3, 4]) == ""
    assert told(StringIO(), [20, 40, 60, 80]).splitlines() == [
        "step 20 of 40, loss 0.5, 40.0 s left",
        "step 40 of 40, loss 0.5",
    ]
