"""docs/errors.md has an entry for every code, in full, and none besides."""

import re
from pathlib import Path

import pytest

from bcai.base.errors import STATUS
from bcai.jobs.outcome import ReasonCode

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ENTRY = re.compile(
    r'^### <a id="(?P<anchor>[^"]+)"></a>`(?P<code>[^`]+)`\n(?P<text>.*?)(?=^##|\Z)', re.M | re.S
)
ENTRIES = {entry["code"]: entry for entry in ENTRY.finditer(PAGE)}
CODES = sorted({*STATUS, *ReasonCode})


def test_the_page_names_every_code_and_no_other() -> None:
    assert sorted(ENTRIES) == CODES


@pytest.mark.parametrize("code", CODES)
def test_an_entry_says_what_happened_and_what_to_do(code: str) -> None:
    entry = ENTRIES[code]
    assert entry["anchor"] == code
    text = " ".join(entry["text"].split())
    assert "**What happened:**" in text
    assert "**How to resolve it:**" in text
    if code in STATUS:
        http, exit_status = STATUS[code]
        assert f"HTTP {http}, exit {exit_status}" in text
