"""Writes the table of rules in docs/reference/inspection.md from their declarations.

python docs/reference/inspection_table.py
"""

import sys
from pathlib import Path

from bcai.bridge.inspect.catalogue import RULES, SYNTAX

PAGE = Path(__file__).with_name("inspection.md")
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def table() -> str:
    """The rules as Markdown."""
    rows = ["| rule | at worst | the code... | what to do instead |", "|---|---|---|---|"]
    rows.append(f"| `{SYNTAX}` | refused | does not parse | correct that line |")
    rows += [
        f"| `{rule.code}` | {rule.severity} | {rule.title} | {rule.hint} |".replace("*", r"\*")
        for rule in RULES
    ]
    return "\n".join(rows)


def with_table(text: str) -> str:
    """The page with its table as it should be."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{len(RULES) + 1} rules\n")
