import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.bridge.sandbox.text import TextDecoder, one_line


def decode(*parts: bytes) -> str:
    decoder = TextDecoder()
    return "".join(decoder.feed(part) for part in parts) + decoder.finish()


@given(st.binary(max_size=60), st.integers(0, 60))
def test_where_a_stream_is_cut_does_not_matter(data: bytes, cut: int) -> None:
    assert decode(data[:cut], data[cut:]) == decode(data)


@given(st.binary(max_size=60))
def test_no_terminal_code_survives(data: bytes) -> None:
    text = decode(data)
    assert not any(ord(c) < 32 and c not in "\n\t\r" for c in text)
    assert not any(0x7F <= ord(c) <= 0x9F for c in text)
    text.encode()  # valid Unicode


_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HARMLESS = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=_REORDERING)


@given(st.text(alphabet=_HARMLESS, max_size=60))
def test_text_is_left_alone(text: str) -> None:
    assert decode(text.encode()) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\x9b2J".encode(), "\\x9b2J"),
        ("\u202egnp.exe\u2066".encode(), "\\u202egnp.exe\\u2066"),
        (b"100%\r\n\tdone", "100%\r\n\tdone"),
        ("grün ✓".encode()[:-1], "grün \\xe2\\x9c"),
    ],
)
def test_examples(data: bytes, text: str) -> None:
    assert decode(data) == text


@given(st.text(max_size=300))
def test_messages_are_one_bounded_line(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100
    assert line.isprintable() or not any(ord(c) < 32 for c in line)
