"""The reference pages are what the declarations say, and their examples run.

To renew them: `python docs/reference/instruction_pages.py`.
"""

import doctest

import pytest
from docs.reference.instruction_pages import DIRECTORY, pages

from bcai.vm.isa.versions import LATEST

PAGES = pages()


def test_the_committed_pages_are_up_to_date() -> None:
    committed = {path.name: path.read_text() for path in DIRECTORY.glob("*.md")}
    assert committed.keys() == PAGES.keys()
    stale = sorted(name for name, text in PAGES.items() if committed[name] != text)
    assert not stale, "to renew them: python docs/reference/instruction_pages.py"


def test_every_instruction_has_an_example_but_those_that_need_a_node() -> None:
    without = {name for name in LATEST.by_name if ">>>" not in PAGES[f"{name}.md"]}
    assert without == {"PythonExecute"}


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if ">>>" in text])
def test_the_example_runs(name: str) -> None:
    text = PAGES[name].replace("\n```", "\n")  # the fence would be expected output
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)
