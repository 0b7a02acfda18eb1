"""Keys that sign: Ed25519, with what is signed said in the signature.

A signature is over `bcai-signature`, a zero byte, the domain, a zero byte and the message, so that
no signature of one kind of message passes for another kind. Source: RFC 8032.
"""

import os
import stat
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from bcai.base.errors import ConflictError, FormatError, InputError, NotFoundError, RefusedError

SIGNATURE_BYTES = 64
PUBLIC_BYTES = 32
_PREFIX = b"bcai-signature\x00"
_ID = "ed25519:"
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_PEM_BEGIN, _PEM_END = b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"


class Domain(StrEnum):
    """What a signature is for."""

    SPEC = "bcai-spec-v1"
    COMMITMENT = "bcai-commitment-v1"
    PYTHON = "bcai-python-commitment-v1"
    NODE = "bcai-node-v1"
    AGREEMENT = "bcai-agreement-v1"


class SigningKey:
    """A secret key. It prints as `***`."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        """Never the secret."""
        return f"SigningKey(***, public={key_id(self.public)!r})"

    @classmethod
    def from_random(cls, random: bytes) -> "SigningKey":
        """A new key from 32 random bytes. Raises InputError."""
        if len(random) != 32:
            raise InputError(f"a key needs 32 random bytes, found {len(random)}")
        return cls(Ed25519PrivateKey.from_private_bytes(random))

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """64 bytes that only this key can make."""
        return self._key.sign(_framed(domain, message))

    def pem(self) -> bytes:
        """The secret, as PKCS #8 in PEM."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_signed(public: bytes, domain: Domain, message: bytes, signature: bytes) -> bool:
    """Whether the owner of a public key signed a message for this purpose."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _framed(domain, message))
    except (InvalidSignature, ValueError):
        return False
    return True


def key_id(public: bytes) -> str:
    """`ed25519:` and 64 hexadecimal digits."""
    return _ID + public.hex()


def parse_key_id(text: str) -> bytes:
    """Undo `key_id`. Raises FormatError."""
    digits = text.removeprefix(_ID)
    if not text.startswith(_ID) or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise FormatError(
            f"not a key: {text[:80]!r}; expected {_ID!r} and 64 hexadecimal digits, lower case"
        )
    return bytes.fromhex(digits)


def write_key(path: Path, key: SigningKey) -> None:
    """Write a new key file that its owner alone can read; all of it is there, or none.

    Raises
    ------
    ConflictError
        There is a file already: a key is never overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        part.unlink()  # of a process of this number that was killed while it wrote
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.pem())
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, it never replaces
    except FileExistsError:
        raise ConflictError(f"{path}: there is a key already") from None
    finally:
        part.unlink()


def own_key(path: Path, random: Callable[[int], bytes]) -> SigningKey:
    """Return the key of this file, made on first use.

    Raises
    ------
    OSError, RefusedError, FormatError
        It can be neither read nor made.
    """
    with suppress(NotFoundError):
        return read_key(path)
    with suppress(ConflictError):  # another process was quicker
        write_key(path, SigningKey.from_random(random(32)))
    return read_key(path)


def read_key(path: Path) -> SigningKey:
    """Read a key file.

    Raises
    ------
    NotFoundError
        There is none.
    RefusedError
        Others than its owner can read it.
    FormatError
        It holds no Ed25519 key.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no key file {str(path)!r}") from None
    if mode & 0o077:
        raise RefusedError(f"{path}: mode is {mode:o}, expected 600", hint=f"chmod 600 {path}")
    return SigningKey(_plain_key(content) or _any_key(path, content))


def _plain_key(content: bytes) -> Ed25519PrivateKey | None:
    """Read what `pem` writes, without the library's parser: importing it takes longer than a job.

    Source: RFC 8410, section 7: the secret is the end of a structure of fixed bytes.
    """
    lines = content.split(b"\n")
    if len(lines) != 4 or lines[0] != _PEM_BEGIN or lines[2] != _PEM_END:
        return None
    with suppress(ValueError):
        structure = b64decode(lines[1], validate=True)
        if structure.startswith(_PKCS8) and len(structure) == len(_PKCS8) + 32:
            return Ed25519PrivateKey.from_private_bytes(structure[len(_PKCS8) :])
    return None


def _any_key(path: Path, content: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(f"{path}: no key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FormatError(f"{path}: found a {type(key).__name__}, expected an Ed25519 key")
    return key


def _framed(domain: Domain, message: bytes) -> bytes:
    return _PREFIX + domain.encode() + b"\x00" + message
