"""Signatures say what they are for; key files are their owner's alone."""

import os
import stat
from pathlib import Path

import pytest

from bcai.base.errors import ConflictError, FormatError, InputError, NotFoundError, RefusedError
from bcai.proof.keys import (
    Domain,
    SigningKey,
    is_signed,
    key_id,
    parse_key_id,
    read_key,
    write_key,
)

KEY = SigningKey.from_random(bytes(range(32)))
GOLDEN_ID = "ed25519:03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
"""What RFC 8032 makes of this seed."""

GOLDEN_SIGNATURE = (
    "d978ed458053e5886097708898f5e34ced26573a3127cbcb70c985168cde6434"
    "6edb872e492f1c5cb4e3d2b93556fbd863b5126f62c955c37d32786d8a8f560e"
)


def test_golden_key_and_signature() -> None:
    assert key_id(KEY.public) == GOLDEN_ID
    assert KEY.sign(Domain.SPEC, b"message").hex() == GOLDEN_SIGNATURE


def test_a_signature_serves_one_message_one_purpose_one_key() -> None:
    signature = KEY.sign(Domain.COMMITMENT, b"message")
    other = SigningKey.from_random(bytes(32))
    assert is_signed(KEY.public, Domain.COMMITMENT, b"message", signature)
    assert not is_signed(KEY.public, Domain.SPEC, b"message", signature)
    assert not is_signed(KEY.public, Domain.COMMITMENT, b"messagf", signature)
    assert not is_signed(other.public, Domain.COMMITMENT, b"message", signature)
    assert not is_signed(KEY.public, Domain.COMMITMENT, b"message", signature[:-1])
    assert not is_signed(b"", Domain.COMMITMENT, b"message", signature)
    assert not is_signed(b"\xff" * 32, Domain.COMMITMENT, b"message", signature)


def test_a_key_file_is_its_owners_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "node.pem"
    before = os.umask(0)
    try:
        write_key(path, KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path).public == KEY.public
    with pytest.raises(ConflictError, match="there is a key already"):
        write_key(path, SigningKey.from_random(bytes(32)))
    assert read_key(path).public == KEY.public
    assert [each.name for each in path.parent.iterdir()] == ["node.pem"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    write_key(path, KEY)
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="mode is 640, expected 600"):
        read_key(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    with pytest.raises(NotFoundError):
        read_key(path)
    path.write_text("hello")
    path.chmod(0o600)
    with pytest.raises(FormatError, match="no key in PEM"):
        read_key(path)
    with pytest.raises(InputError, match="32 random bytes, found 3"):
        SigningKey.from_random(b"abc")


def test_names_of_keys() -> None:
    assert parse_key_id(GOLDEN_ID) == KEY.public
    for bad in ("", GOLDEN_ID[:-1], GOLDEN_ID.upper(), GOLDEN_ID[8:], GOLDEN_ID[:-1] + "g"):
        with pytest.raises(FormatError, match="not a key"):
            parse_key_id(bad)


def test_a_key_does_not_print_its_secret() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    assert "***" in repr(KEY)
