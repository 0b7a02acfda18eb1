"""Wheels for tests, made here: what pip installs from them needs no network."""

import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    code: str = "",
    *,
    requires: tuple[str, ...] = (),
    extras: tuple[str, ...] = (),
) -> Path:
    """Write a wheel with one module of the package's name."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    head += "".join(f"Requires-Dist: {text}\n" for text in requires)
    head += "".join(f"Provides-Extra: {text}\n" for text in extras)
    files = {
        f"{name}.py": code or f"VERSION = {version!r}\n",
        f"{info}/METADATA": head,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    lines = [f"{place},sha256={_hash(text)},{len(text)}" for place, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in files.items():
            archive.writestr(zipfile.ZipInfo(place), text)
    return path


def unpack(wheel: Path, folder: Path) -> None:
    """Put a wheel's files where pip would."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def only_from(folder: Path) -> dict[str, str]:
    """Variables with which pip takes nothing but the wheels in a folder."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_EXTRA_INDEX_URL": "",
    }


def _hash(text: str) -> str:
    return urlsafe_b64encode(sha256(text.encode()).digest()).decode().rstrip("=")
