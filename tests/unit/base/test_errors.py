"""The error tree and the table from code to HTTP and exit status."""

import pytest

from bcai.base import errors
from bcai.base.errors import STATUS, BcaiError, error_class, exit_status, http_status


def every_class() -> list[type[BcaiError]]:
    """The classes of the tree that BCAI itself declares."""
    found: list[type[BcaiError]] = []
    pending: list[type[BcaiError]] = [BcaiError]
    while pending:
        candidate = pending.pop()
        pending += candidate.__subclasses__()
        if candidate.__module__ == errors.__name__:
            found.append(candidate)
    return found


def test_every_class_has_its_own_code() -> None:
    codes = [found.code for found in every_class()]
    assert sorted(codes) == sorted(set(codes))
    assert all("code" in vars(found) for found in every_class())


def test_every_class_has_a_row_and_every_row_a_class() -> None:
    assert {found.code for found in every_class()} == set(STATUS)


@pytest.mark.parametrize("code", sorted(STATUS))
def test_a_client_raises_what_the_server_raised(code: str) -> None:
    assert error_class(code).code == code


def test_an_unknown_code_becomes_the_base_error() -> None:
    assert error_class("from.a.newer.server") is BcaiError


@pytest.mark.parametrize("code", sorted(STATUS))
def test_statuses_are_ones_that_callers_understand(code: str) -> None:
    assert 400 <= http_status(code) <= 599
    assert exit_status(code) in {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("code", "http", "exit_code"),
    [
        ("input.invalid", 422, 2),
        ("auth.missing", 401, 4),
        ("auth.forbidden", 403, 4),
        ("policy.no_jail", 403, 3),
        ("job.failed", 409, 1),
    ],
)
def test_statuses_are_those_that_the_surface_promises(code: str, http: int, exit_code: int) -> None:
    assert (http_status(code), exit_status(code)) == (http, exit_code)


def test_the_module_draws_every_class() -> None:
    drawing = errors.__doc__ or ""
    assert [found.__name__ for found in every_class() if found.__name__ not in drawing] == []


def test_an_error_carries_its_hint() -> None:
    error = errors.InputError("no such thing", hint="name another")
    assert (str(error), error.hint) == ("no such thing", "name another")
