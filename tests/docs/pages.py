"""The pages whose examples run, and the code blocks on them.

Every ```python and ```bash block runs, unless `<!-- no-run: REASON -->` stands on the line before.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"^(?:<!-- no-run:(?P<reason>[^\n]*?)-->\n\n?)?"
    r"^```(?P<language>python|bash)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One example; `line` is where its code begins on the page, from 1."""

    language: str
    code: str
    line: int
    skipped_because: str | None


def pages() -> list[Path]:
    """All pages, relative to the root."""
    found = [ROOT / "README.md", ROOT / "QUICKSTART.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(page.relative_to(ROOT) for page in found)


def blocks(page: Path) -> list[Block]:
    """The page's examples, in order."""
    text = (ROOT / page).read_text("utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        reason = match["reason"]
        found.append(
            Block(
                match["language"],
                match["code"],
                line,
                None if reason is None else reason.strip(),
            )
        )
    return found


def python_program(page: Path) -> str:
    """All Python examples as one program, in which every line has its number on the page."""
    lines: list[str] = []
    for block in blocks(page):
        if is_script(block):
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.code.splitlines()
    return "\n".join(lines) + "\n"


def is_script(block: Block) -> bool:
    """Whether to run it as a script; the instructions' pages show sessions and run them."""
    is_session = block.code.lstrip().startswith(">>>")
    return block.language == "python" and block.skipped_because is None and not is_session


def bcai_commands(block: Block) -> list[list[str]]:
    """The words of each `bcai ...` command of a shell example."""
    joined = _HERE_DOCUMENT.sub("", block.code).replace("\\\n", " ")
    lines = [line.split(" #")[0].split(" | ")[0].split() for line in joined.splitlines()]
    return [words for words in lines if words[:1] == ["bcai"]]
