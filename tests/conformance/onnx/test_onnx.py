"""Every listed ONNX node test passes; no other does; the page says so."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.conformance.onnx.allow_list import LIST, PAGE, listed, page, reasons
from tests.conformance.onnx.importer import run_case
from tests.conformance.onnx.suite import cases

COMMAND = "python -m tests.conformance.onnx.allow_list"


@pytest.mark.parametrize("name", listed())
def test_listed_passes(name: str) -> None:
    assert run_case(cases()[name]) == ""


@cache
def _skipped() -> dict[str, str]:
    return reasons(frozenset(listed()))


def test_list_is_exact() -> None:
    assert listed() == sorted(set(listed())), f"{LIST.name} is not sorted: {COMMAND}"
    missing = [name for name, reason in _skipped().items() if not reason]
    assert not missing, f"these pass, add them: {COMMAND}"
    assert len(listed()) >= 900


def test_other_numbers_do_not_pass() -> None:
    case = cases()["test_matmul_2d"]
    wrong = replace(case, expected=tuple(np.asarray(each) * 1.002 for each in case.expected))
    assert "differ" in run_case(wrong)
    longer = replace(case, expected=tuple(np.asarray(each)[None] for each in case.expected))
    assert "expected float32" in run_case(longer)


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(_skipped()), f"the page is out of date: {COMMAND}"
