"""Page tokens open only what they were made for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.cluster.gateway.page_token import seal, unseal


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.text(st.characters(codec="utf-8")))
def test_a_token_opens(cursor: str, listing: str) -> None:
    assert unseal(seal(cursor, listing), listing) == cursor


@given(st.text(max_size=50))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        unseal(text, "jobs")


def test_a_token_of_another_listing_is_refused() -> None:
    with pytest.raises(FormatError):
        unseal(seal("cursor", "jobs of anna"), "jobs of bert")
