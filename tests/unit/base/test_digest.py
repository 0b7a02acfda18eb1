"""Content addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.digest import digest_of, digest_of_chunks, parse_digest
from bcai.base.errors import FormatError

# Source: the first case of BLAKE3's published test vectors.
EMPTY = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_the_empty_input_has_the_published_digest() -> None:
    assert digest_of(b"") == EMPTY


@given(st.lists(st.binary()))
def test_a_stream_has_the_digest_of_its_bytes(chunks: list[bytes]) -> None:
    assert digest_of_chunks(chunks) == digest_of(b"".join(chunks))


@given(st.binary())
def test_every_digest_parses_as_itself(data: bytes) -> None:
    assert parse_digest(digest_of(data)) == digest_of(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blake3:",
        EMPTY.removeprefix("blake3:"),
        EMPTY.upper(),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        " " + EMPTY,
        EMPTY.replace("blake3", "sha256"),
        "blake3:../../../etc/passwd",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="64 hexadecimal digits"):
        parse_digest(text)


def test_a_refusal_never_repeats_a_huge_input() -> None:
    with pytest.raises(FormatError) as caught:
        parse_digest("x" * 1_000_000)
    assert len(str(caught.value)) < 300
