import importlib.util
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[4] / "docs" / "reference"


def test_the_page_has_the_rules_as_they_are_declared() -> None:
    spec = importlib.util.spec_from_file_location("page", FOLDER / "inspection_table.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    text = (FOLDER / "inspection.md").read_text("utf-8")
    assert text == page.with_table(text), "run: python docs/reference/inspection_table.py"
