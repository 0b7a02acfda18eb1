"""The lock file: one form for one content, read back as it was written."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.cluster.node.environment_lock import Lock, Locked, locked, parse_lock

names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4}){0,2}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc1|\.post2)?(\+cpu)?", fullmatch=True)
digests = st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))


def _name(package: Locked) -> str:
    return package.name


packages = st.lists(st.builds(Locked, names, versions, digests), max_size=6, unique_by=_name)
LOCK = Lock("3.11", "cpython", "linux-x86_64", locked([("Py_YAML", "6.0", "0" * 64)]))
TEXT = (
    "# bcai environment lock 1\n# python 3.11, cpython, linux-x86_64\n"
    f"py-yaml==6.0 --hash=sha256:{'0' * 64}\n"
)


@given(packages)
def test_it_is_read_back_as_it_was_written(listed: list[Locked]) -> None:
    lock = Lock("3.13", "cpython", "linux-aarch64", tuple(sorted(listed)))
    assert parse_lock(str(lock)) == lock


@given(packages)
def test_the_order_of_packages_changes_nothing(listed: list[Locked]) -> None:
    locks = [replace(LOCK, packages=tuple(each)) for each in (listed, listed[::-1])]
    assert locks[0].digest == locks[1].digest


def test_the_form_is_the_one_that_is_documented() -> None:
    assert str(LOCK) == TEXT
    assert LOCK.digest == (
        "sha256:30486feacb82f9eb334a8603897d5b9b9713dac0bb2c1783bd8d67ad8751d17a"
    )
    assert LOCK.versions == {"py-yaml": "6.0"}


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.12"},
        {"platform": "linux-aarch64"},
        {"packages": locked([("py-yaml", "6.0", "1" * 64)])},
        {"packages": locked([("py-yaml", "6.1", "0" * 64)])},
    ],
)
def test_other_content_has_another_digest(change: dict[str, object]) -> None:
    assert replace(LOCK, **change).digest != LOCK.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1"),
        (TEXT.replace("lock 1", "lock 2"), "line 1"),
        (TEXT.replace("3.11", "three"), "line 2"),
        (TEXT.replace("py-yaml", "Py_YAML"), "line 3"),
        (TEXT.replace("==6.0", ">=6.0"), "line 3"),
        (TEXT + "numpy==1 --hash=md5:00\n", "line 4"),
        (TEXT + "numpy==1\n", "not sorted"),
        (TEXT + "py-yaml==7\n", "'py-yaml' is named twice"),
        (TEXT.rstrip("\n"), "end of line"),
    ],
)
def test_what_is_no_lock_is_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_lock(text)
