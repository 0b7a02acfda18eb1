"""A result as files in a folder. Each file is written beside its place and then moved there."""

import errno
import io
import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bcai.base.errors import BcaiError, InputError, ResourceError

if TYPE_CHECKING:
    from bcai.sdk.result import Result

RECEIPT = "receipt.bcai"
ATTESTATION = "attestation.bcai"  # beside a receipt that covers a part of the job
_OWN_NAMES = ("outputs.json", "metrics.jsonl", "logs.txt", "result.json", RECEIPT, ATTESTATION)
_UNSAFE = re.compile(r"[^\w.\-]+")
_NAME_BYTES_MAX = 200  # file systems take 255; a suffix has to fit too


def save_result(result: "Result", folder: Path) -> dict[str, Path]:
    """Write a result's files; `result.json` is last, so that its presence says all are there.

    Raises
    ------
    InputError, ResourceError
        The folder cannot be written, or the disk is full.
    """
    try:
        return _save(result, folder)
    except (InputError, ResourceError) as error:
        if not isinstance(error.__cause__, OSError):
            raise  # an output that no file can hold: it is no matter of the folder
        hint = (
            f"nothing is lost, the network has it: bcai jobs results {result.job_id} --out FOLDER"
        )
        raise type(error)(str(error), hint=hint) from error


def _save(result: "Result", folder: Path) -> dict[str, Path]:
    make_folder(folder)
    written: dict[str, Path] = {}
    taken: set[str] = set(_OWN_NAMES)
    values: dict[str, object] = {}
    for name in result.outputs:
        item = result.outputs.describe(name)
        if item.digest is None:
            values[name] = item.value
            continue
        suffix = {"state_dict": ".safetensors", "array": ".npy"}.get(item.kind, "")
        path = folder / free_name(name, suffix, taken)
        content = (
            _npy(result.outputs[name]) if item.kind == "array" else result.outputs.content(name)
        )
        write_atomically(path, content)
        written[name] = path
    receipt, attestation = result.receipt_bytes, result.attestation_bytes
    if attestation == receipt:
        attestation = None
    for name, content in ((RECEIPT, receipt), (ATTESTATION, attestation)):
        if content is not None:
            write_atomically(folder / name, content)
            stem = name.partition(".")[0]
            written[name if stem in written else stem] = folder / name  # an output may be `receipt`
    texts = {
        "outputs.json": _json(values),
        "metrics.jsonl": "".join(_json_line(metric) for metric in result.metrics),
        "logs.txt": result.logs,
        "result.json": _json(
            {**result.to_dict(), "files": {name: path.name for name, path in written.items()}}
        ),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode("utf-8", "backslashreplace"))
        written[name] = folder / name
    return written


def make_folder(folder: Path) -> None:
    """Have a folder for a result, without the `result.json` of an earlier one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
    except OSError as error:
        raise _refused(f"folder {str(folder)!r}", error) from error


def free_name(name: str, suffix: str, taken: set[str]) -> str:
    """Make a file name of an output's name: no folders, nothing hidden, none twice."""
    plain = _UNSAFE.sub("_", name).lstrip(".") or "output"
    plain = plain.encode()[:_NAME_BYTES_MAX].decode("utf-8", "ignore")
    stem, dot, ending = plain.partition(".") if not suffix else (plain, "", "")
    candidate = f"{stem}{dot}{ending}{suffix}"
    number = 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}{dot}{ending}{suffix}"
    taken.add(candidate.casefold())
    return candidate


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".bcai-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _refused(f"file {str(path)!r}", error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refused(what: str, error: OSError) -> BcaiError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (ResourceError if is_full else InputError)(f"{what}: {error.strerror}")


def _npy(array: object) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def _json(data: Mapping[str, object]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_line(metric: Mapping[str, float | int | None]) -> str:
    plain = {
        name: value if value is None or _is_finite(value) else repr(value)
        for name, value in metric.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def _is_finite(value: float) -> bool:
    return value - value == 0
