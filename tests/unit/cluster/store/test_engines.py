"""Which databases a setting may name."""

from pathlib import Path

import pytest

from bcai.base.errors import InputError
from bcai.cluster.store.engines import parse_url

FILE = Path("/some/where/bcai.db")


def test_nothing_names_the_file() -> None:
    assert parse_url(None, FILE).database == str(FILE)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///jobs.db", "sqlite"),
        ("postgresql://ann@host/name", "postgresql+psycopg"),
        ("postgres://ann@host/name", "postgresql+psycopg"),
        ("postgresql+psycopg://ann@host/name", "postgresql+psycopg"),
    ],
)
def test_known_databases(text: str, driver: str) -> None:
    assert parse_url(text, FILE).drivername == driver


@pytest.mark.parametrize("text", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://h/n"])
def test_other_databases(text: str) -> None:
    with pytest.raises(InputError, match="database_url"):
        parse_url(text, FILE)


def test_an_error_does_not_show_the_password() -> None:
    with pytest.raises(InputError) as caught:
        parse_url("mysql://ann:secret@host/name", FILE)
    assert "secret" not in str(caught.value)
