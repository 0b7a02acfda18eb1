"""What is found in a folder of packages, without importing any."""

from pathlib import Path

import pytest
from tests.wheels import make_wheel, unpack

from bcai.cluster.node.installed import complete_extras, installed_versions, top_level_modules

MARKERS = {"python_version": "3.11", "sys_platform": "linux"}


@pytest.fixture
def packages(tmp_path: Path) -> list[str]:
    house, folder = tmp_path / "house", tmp_path / "packages"
    wheels = [
        make_wheel(house, "plain", "1.0"),
        make_wheel(
            house,
            "Rich_One",
            "2.0",
            requires=(
                "plain>=1; extra == 'plain'",
                "plain>=9; extra == 'newer'",
                "absent; extra == 'absent'",
                "absent; extra == 'Win' and sys_platform == 'win32'",
                "Rich_One[plain]; extra == 'all'",
                "Rich_One[absent]; extra == 'most'",
                "Rich_One[loop]; extra == 'loop'",
            ),
            extras=("plain", "newer", "absent", "Win", "all", "most", "loop", "empty"),
        ),
        make_wheel(house, "odd", "1", requires=("not one!; extra == 'x'",), extras=("x", "y")),
    ]
    for wheel in wheels:
        unpack(wheel, folder)
    return [str(folder)]


def test_names_are_normalised(packages: list[str]) -> None:
    assert installed_versions(packages) == {"odd": "1", "plain": "1.0", "rich-one": "2.0"}


def test_an_extra_is_complete_when_all_that_it_adds_is_there(packages: list[str]) -> None:
    assert complete_extras(packages, MARKERS) == {"rich-one": ("all", "empty", "plain", "win")}


def test_modules_are_what_can_be_imported(packages: list[str]) -> None:
    folder = Path(packages[0])
    (folder / "fast.cpython-311-x86_64-linux-gnu.so").touch()
    (folder / "package").mkdir()
    (folder / "__pycache__").mkdir()
    (folder / "not-a-module").mkdir()
    (folder / "notes.txt").touch()
    assert top_level_modules(packages) == {"plain", "Rich_One", "odd", "fast", "package"}
    assert top_level_modules([str(folder / "absent")]) == frozenset()
