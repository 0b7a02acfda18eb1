import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.cli.lines import PENDING_CHARACTERS_MAX, LineReader


def test_whole_lines_come_back_and_the_rest_is_pending() -> None:
    reader = LineReader()
    assert reader.feed("one\ntwo\nthr") == ["one", "two"]
    assert reader.pending == "thr"
    assert reader.feed("ee\n") == ["three"]
    assert reader.finish() == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10%\r20%\r30%\n", ["30%"]),
        ("\r10%\r100%\n", ["100%"]),
        ("windows\r\n", ["windows"]),
        ("long text\rab\n", ["abng text"]),
        ("\r\n", [""]),
    ],
)
def test_a_progress_bar_leaves_what_a_terminal_would_show(text: str, shown: list[str]) -> None:
    assert LineReader().feed(text) == shown


def test_a_progress_bar_in_progress_shows_its_latest_drawing() -> None:
    reader = LineReader()
    for percent in range(0, 50, 10):
        assert reader.feed(f"\r{percent}%") == []
    assert reader.pending == "40%"
    assert reader.finish() == ["40%"]


def test_a_line_without_end_is_given_out_in_pieces() -> None:
    reader = LineReader()
    pieces = [piece for _ in range(10) for piece in reader.feed("x" * PENDING_CHARACTERS_MAX)]
    assert "".join([*pieces, *reader.finish()]) == "x" * (10 * PENDING_CHARACTERS_MAX)
    assert len(pieces) >= 4


@given(st.lists(st.text(alphabet="ab\n", max_size=20)))
def test_however_text_is_cut_the_lines_are_the_same(parts: list[str]) -> None:
    reader = LineReader()
    lines = [line for part in parts for line in reader.feed(part)]
    lines += reader.finish()
    assert "\n".join(lines) == "".join(parts).removesuffix("\n")
