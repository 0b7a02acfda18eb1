"""A result as files in a folder, in place of an earlier one."""

import io
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bcai.base.errors import FormatError, InputError, ResourceError
from bcai.sdk.whole_files import RECORD, swapped_in, write_synced

if TYPE_CHECKING:
    from bcai.sdk.outputs import Outputs
    from bcai.sdk.result import Result

RECEIPT = "receipt.bcai"
ATTESTATION = "attestation.bcai"  # beside a receipt that covers a part of the job
_OWN_NAMES = ("outputs.json", "metrics.jsonl", "logs.txt", RECORD, RECEIPT, ATTESTATION)
_UNSAFE = re.compile(r"[^\w.\-]+")
_NAME_BYTES_MAX = 200  # file systems take 255; a suffix has to fit too


def save_result(result: "Result", folder: Path) -> dict[str, Path]:
    """Write a result's files; return them by name.

    Raises
    ------
    InputError, ResourceError
        The folder cannot be written, or the disk is full: it has what it had.
    """
    with saving(result, folder) as beside:
        written = write_result(result, beside)
    return {name: folder / path.name for name, path in written.items()}


@contextmanager
def saving(result: "Result", folder: Path) -> Generator[Path]:
    """`swapped_in`, for a result that can be fetched once more where it fails."""
    try:
        with swapped_in(folder) as beside:
            yield beside
    except (InputError, ResourceError) as error:
        if not isinstance(error.__cause__, OSError):
            raise  # an output that no file can hold: it is no matter of the folder
        hint = (
            f"nothing is lost, the network has it: bcai jobs results {result.job_id} --out FOLDER"
        )
        raise type(error)(str(error), hint=hint) from error


def write_result(result: "Result", folder: Path) -> dict[str, Path]:
    """Write a result's files to an empty folder. Raises OSError."""
    written: dict[str, Path] = {}
    taken: set[str] = set(_OWN_NAMES)
    values: dict[str, object] = {}
    for name in result.outputs:
        item = result.outputs.describe(name)
        if item.digest is None:
            values[name] = item.value
            continue
        content, suffix = _file_of(result.outputs, name)
        written[name] = folder / free_name(name, suffix, taken)
        write_synced(written[name], content)
    receipt, attestation = result.receipt_bytes, result.attestation_bytes
    if attestation == receipt:
        attestation = None
    for name, content in ((RECEIPT, receipt), (ATTESTATION, attestation)):
        if content is not None:
            write_synced(folder / name, content)
            stem = name.partition(".")[0]
            written[name if stem in written else stem] = folder / name  # an output may be `receipt`
    texts = {
        "outputs.json": _json(values),
        "metrics.jsonl": "".join(_json_line(metric) for metric in result.metrics),
        "logs.txt": result.logs,
        RECORD: _json(
            {**result.to_dict(), "files": {name: path.name for name, path in written.items()}}
        ),
    }
    for name, text in texts.items():
        write_synced(folder / name, text.encode("utf-8", "backslashreplace"))
        written[name] = folder / name
    return written


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


def _file_of(outputs: "Outputs", name: str) -> tuple[bytes, str]:
    """Content and ending of an output's file; an array that `.npy` cannot hold stays as it is."""
    import numpy as np

    kind, content = outputs.describe(name).kind, outputs.content(name)
    if kind != "array":
        return content, ".safetensors" if kind == "state_dict" else ""
    try:
        array = np.asarray(outputs[name])
    except FormatError:  # what one output holds is no reason to lose the others
        return content, ".safetensors"
    if array.dtype.isbuiltin != 1:
        return content, ".safetensors"
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue(), ".npy"


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
