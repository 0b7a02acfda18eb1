"""Relative links in Markdown lead somewhere, their anchors too."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from .checkout import ROOT, files, files_with, text_of

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"|\{\s*#([\w-]+)\s*\}")


def links(file: Path) -> list[str]:
    """The targets of a page's links that are not on the web."""
    prose = _CODE.sub("", _FENCE.sub("", text_of(file)))
    targets = [first or second for first, second in _LINK.findall(prose)]
    return [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:", target)]


def anchors(file: Path) -> set[str]:
    """The anchors that a page's headings get, and those set by hand."""
    text = _FENCE.sub("", text_of(file))
    found = {first or second for first, second in _ANCHOR.findall(text)}
    for heading in _HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link's file or folder exists, and its anchor is a heading there."""
    path, _, anchor = unquote(link).partition("#")
    target = (ROOT / page.parent / path).resolve() if path else ROOT / page
    if not target.is_relative_to(ROOT):
        return False
    inside = target.relative_to(ROOT)
    if inside not in files():
        return target.is_dir() and not anchor
    return not anchor or anchor in anchors(inside)


@pytest.mark.parametrize("page", files_with(".md"), ids=str)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []
