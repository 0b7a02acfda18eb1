"""Which environment of a node a job gets, and what is said when it gets none."""

import shlex
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bcai.base.errors import InputError
from bcai.jobs.environment import Environment, check_name
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.requirements import fitting, gaps_of, parse_requirement

DEFAULT = Environment("default", "3.11.7", {"torch": "2.13.0+cpu", "numpy": "2.4.0"}, "sha256:d")
OLD = Environment("old", "3.11.7", {"torch": "1.13.1", "humanize": "4.12.1"}, "sha256:o")
NEW = Environment("new", "3.13.1", {"torch": "2.13.0", "humanize": "4.15.0"}, "sha256:n")

names = st.sampled_from(["ada", "bee", "cat", "dog"])
versions = st.sampled_from(["1.0", "1.5", "2.0", "2.1rc1", "3.0+cpu"])


def _requirement(name: str, operator: str, version: str) -> str:
    return f"{name}{operator}{version}" if operator else name


def _environment(name: str, packages: dict[str, str]) -> Environment:
    return Environment(name, "3.11.7", packages)


def _name(environment: Environment) -> str:
    return environment.name


requirements = st.builds(
    _requirement,
    names,
    st.sampled_from(["", ">=", "<", "==", "!="]),
    st.sampled_from(["1.0", "2.0", "3.0"]),
)
environments = st.lists(
    st.builds(
        _environment,
        st.sampled_from(["default", "a", "b", "c", "d"]),
        st.dictionaries(names, versions),
    ),
    min_size=1,
    unique_by=_name,
)


def fits(requirement: str, environment: Environment) -> bool:
    """The law, in the words of the library that states it."""
    parsed = Requirement(requirement)
    version = environment.packages.get(parsed.name)
    return version is not None and SpecifierSet(str(parsed.specifier)).contains(
        version, prereleases=True
    )


@given(st.lists(requirements, max_size=4), environments)
def test_the_first_environment_that_has_everything_is_taken(
    wanted: list[str], offered: list[Environment]
) -> None:
    found = fitting(wanted, None, offered)
    in_turn = sorted(offered, key=lambda each: (each.name != "default", each.name))
    whole = [each for each in in_turn if all(fits(text, each) for text in wanted)]
    assert found == whole[0] if whole else isinstance(found, Reason)


@given(st.lists(requirements, max_size=4), environments, st.randoms(use_true_random=False))
def test_no_order_matters_but_that_of_the_names(
    wanted: list[str], offered: list[Environment], chance: Random
) -> None:
    shuffled, mixed = list(offered), list(wanted)
    chance.shuffle(shuffled)
    chance.shuffle(mixed)
    found, again = fitting(wanted, None, offered), fitting(mixed, None, shuffled)
    assert isinstance(found, Reason) == isinstance(again, Reason)
    assert isinstance(found, Reason) or found == again


@given(st.lists(requirements, min_size=1, max_size=4), environments)
def test_a_refusal_names_all_that_the_nearest_one_lacks(
    wanted: list[str], offered: list[Environment]
) -> None:
    found = fitting(wanted, None, offered)
    if not isinstance(found, Reason):
        return
    assert found.code is ReasonCode.REQUIREMENTS
    lacking = [[text for text in wanted if not fits(text, each)] for each in offered]
    least = min(map(len, lacking))
    needs = found.message.removeprefix("needs ").partition("; ")[0].split(", ")
    assert sorted(needs) in [sorted(each) for each in lacking if len(each) == least]


def test_the_nearest_environment_is_the_one_with_another_version() -> None:
    found = fitting(["humanize>=99"], None, [DEFAULT, OLD])
    assert isinstance(found, Reason)
    assert found.message == "needs humanize>=99; the environment 'old' has humanize 4.12.1"
    assert "a version that includes 4.12.1" in found.hint
    assert "bcai node env add NAME 'humanize>=99'" in found.hint


def test_packages_in_different_environments_are_named() -> None:
    found = fitting(["numpy", "humanize"], None, [DEFAULT, NEW, OLD])
    assert isinstance(found, Reason)
    assert found.message == (
        "needs humanize; the environment 'default' has no humanize; "
        "humanize is in 'new', 'old', without the rest"
    )
    assert "bcai node env add NAME numpy humanize" in found.hint


def test_what_is_perhaps_a_slip_is_not_what_an_owner_shall_install() -> None:
    found = fitting(["trch"], None, [DEFAULT])
    assert isinstance(found, Reason)
    assert found.hint == "did you mean 'torch'?"


def test_a_command_for_the_owner_survives_a_shell() -> None:
    found = fitting(["evil; extra == 'x' or python_version > '3'"], None, [DEFAULT])
    assert isinstance(found, Reason)
    _, _, command = found.hint.partition(": ")
    assert shlex.split(command)[:5] == ["bcai", "node", "env", "add", "NAME"]
    assert len(shlex.split(command)) == 6


def test_a_named_environment_is_the_only_one_asked() -> None:
    assert fitting(["torch<2"], "old", [DEFAULT, OLD, NEW]) == OLD
    assert fitting([], "new", [DEFAULT, OLD, NEW]) == NEW
    conflict = fitting(["torch<2"], "new", [DEFAULT, OLD, NEW])
    assert isinstance(conflict, Reason)
    assert conflict.message == "needs torch<2; the environment 'new' has torch 2.13.0"
    for name, hint in (("nwe", "did you mean 'new'?"), ("science", "bcai node env add science")):
        absent = fitting([], name, [DEFAULT, OLD, NEW])
        assert isinstance(absent, Reason)
        assert f"needs the environment {name!r}" in absent.message
        assert "'default', 'new', 'old'" in absent.message
        assert hint in absent.hint


def test_an_extra_counts_only_where_the_node_found_it_complete() -> None:
    whole = replace(DEFAULT, extras={"torch": ("optree", "two-words")})
    assert fitting(["torch[optree]>=2"], None, [whole]) == whole
    assert fitting(["torch[Two_Words,optree]"], None, [whole]) == whole
    for environment, extra in ((DEFAULT, "optree"), (whole, "opt-einsum")):
        found = fitting([f"torch[{extra}]"], None, [environment])
        assert isinstance(found, Reason)
        assert f"torch 2.13.0+cpu without [{extra}]" in found.message


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("python_version < '3.12'", {"default", "old"}),
        ("python_full_version >= '3.13.1'", {"new"}),
        ("sys_platform == 'win32'", set[str]()),
        ("extra == 'x'", set[str]()),
    ],
)
def test_a_marker_is_about_the_environment(marker: str, applies: set[str]) -> None:
    wanted = parse_requirement(f"absent; {marker}")
    assert {e.name for e in (DEFAULT, OLD, NEW) if gaps_of([wanted], e)} == applies


def test_a_marker_is_not_about_the_machine_that_asks() -> None:
    there = replace(DEFAULT, markers={"platform_machine": "riscv64", "python_version": "3.99"})
    found = fitting(["absent; platform_machine == 'riscv64'"], None, [there])
    assert isinstance(found, Reason)
    assert fitting(["absent; platform_machine != 'riscv64'"], None, [there]) == there


def test_a_version_of_the_old_days_meets_only_what_asks_for_none() -> None:
    odd = Environment("default", "3.11.7", {"pytz": "2004b-final-2"})
    assert fitting(["pytz"], None, [odd]) == odd
    assert isinstance(fitting(["pytz>=2000"], None, [odd]), Reason)


@pytest.mark.parametrize("text", ["a; os_name ~= 'posix'", "a @ https://e.org/a.whl", "a b"])
def test_what_cannot_be_judged_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="requirement"):
        fitting([text], None, [DEFAULT])


@pytest.mark.parametrize("name", ["", "Science", ".x", "a/b", "..", "a" * 64, "a\n", "-r"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="environment"):
        check_name(name)
