"""Receipts of Python code, for `bcai receipt`: who said what, and what that is worth."""

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bcai.base.errors import FormatError, NotFoundError
from bcai.base.units import format_count, format_size
from bcai.cli.receipt_page import (
    Rows,
    claimed_time,
    print_checked,
    print_findings,
    row_of,
    wrapped_page,
)
from bcai.cli.terminal import stdout_console

if TYPE_CHECKING:
    from bcai.proof.check import Report
    from bcai.proof.python_commitment import PythonCommitment
    from bcai.proof.python_receipt import PythonReceipt

_MEANING = {
    "attested": "one node's word: nobody else did the job",
    "replicated": "so many nodes of one fingerprint say the same, each for itself",
}


def received_outputs(receipt: "PythonReceipt", folder: Path) -> dict[str, bytes]:
    """Hashes of the outputs in a folder that `--out` or `result.save` wrote.

    Raises
    ------
    NotFoundError, FormatError
        It is no such folder, or a file of it cannot be read.
    """
    from bcai.proof.python_commitment import hash_value

    try:
        record: Any = json.loads((folder / "result.json").read_bytes())
        values: Any = json.loads((folder / "outputs.json").read_bytes())
        files = cast("dict[str, str]", dict(record["files"]))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"--outputs {folder}: there is no result.json and outputs.json",
            hint="name the folder that bcai run --out or result.save() wrote",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FormatError(f"--outputs {folder}: not the record of a result: {error}") from error
    found: dict[str, bytes] = {}
    for output in _first(receipt).outputs:
        if output.kind == "value" and output.name in values:
            found[output.name] = hash_value(values[output.name])
        elif output.name in files:
            found[output.name] = hash_output(folder / files[output.name], output.kind, output.hash)
    if not found and _first(receipt).outputs:
        there = ", ".join(sorted({*values, *files})[:5]) or "nothing"
        raise NotFoundError(f"--outputs {folder}: found {there}, expected outputs of the receipt")
    return found


def hash_output(file: Path, kind: str, expected: bytes) -> bytes:
    """Hash of an output as it was stored: an `array` of a .npy file, or any other file's bytes.

    An array that does not have the hash expected may have been bfloat16: see `narrowed`.
    """
    from blake3 import blake3

    try:
        if kind != "array" or file.suffix == ".safetensors":
            return blake3(file.read_bytes()).digest()
        import numpy as np

        from bcai.bridge.tensor_file import TensorFile
        from bcai.cli.tensor_files import narrowed

        array: Any = np.load(file, allow_pickle=False)
        found = blake3(TensorFile({"value": array}).content()).digest()
        narrow = None if found == expected else narrowed(array)
        return found if narrow is None else blake3(TensorFile({"value": narrow}).content()).digest()
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"--outputs: {file} cannot be read: {error}") from error


def print_python_report(
    receipt: "PythonReceipt", report: "Report", size: int, took_s: float, received: int
) -> None:
    """Print what a check found."""
    what = f"Python code, evidence {receipt.evidence}; {_share(receipt)}"
    held = format_count(received, "output") if received else ""
    print_checked(report, what, size, took_s, held)


def print_python_receipt(receipt: "PythonReceipt", report: "Report", size: int) -> None:
    """Print what a receipt says."""
    console = stdout_console()
    for title, value in python_rows(receipt, size):
        console.print(f"{title:<17}{value}", markup=False, soft_wrap=True)
    print_findings(report)


def python_rows(receipt: "PythonReceipt", size: int) -> Rows:
    """What a receipt says, line by line."""
    from bcai.proof.keys import key_id

    first = _first(receipt)
    rows: Rows = [
        ("job", first.job_id),
        ("evidence", f"{receipt.evidence}: {_MEANING[receipt.evidence.value]}"),
        ("nodes", _share(receipt)),
        ("ended", first.reason + ("" if first.exit_status is None else f", {first.exit_status}")),
        ("code", first.code.hex()),
        ("inputs", first.inputs.hex()),
        ("client", key_id(receipt.spec.client)),
    ]
    rows += [("fingerprint", f"{name} {value}") for name, value in first.fingerprint]
    for word in receipt.words:
        said, usage = word.commitment, word.commitment.usage
        agrees = "agrees" if word in receipt.agreeing else "differs"
        layers = ", ".join(said.jail_layers) or "no layer"
        used = f"{usage.wall_s:.1f} s, {usage.cpu_s:.1f} s of processor"
        claims = f"{claimed_time(said.claimed_at)}, {used}, jail {said.jail_level}: {layers}"
        rows += [("node", f"{key_id(said.node)}, {agrees}"), ("  claims", claims)]
    return [*rows, ("size", format_size(size))]


def python_document(
    receipt: "PythonReceipt", report: "Report", size: int, took_s: float | None
) -> dict[str, Any]:
    """What `--json` prints."""
    from bcai.proof.keys import key_id

    first = _first(receipt)
    return {
        "clean": report.is_clean,
        "findings": [{"name": each.name, "message": each.message} for each in report.findings],
        "checked": list(report.checked),
        "unchecked": list(report.unchecked),
        "check_s": took_s,
        "size_bytes": size,
        "job_id": first.job_id,
        "evidence": receipt.evidence.value,
        "reason": first.reason,
        "exit_status": first.exit_status,
        "fingerprint": dict(first.fingerprint),
        "agreeing": [key_id(word.commitment.node) for word in receipt.agreeing],
        "nodes": [
            {
                "key": key_id(word.commitment.node),
                "agrees": word in receipt.agreeing,
                "outputs": {
                    each.name: {"kind": each.kind, "hash": each.hash.hex()}
                    for each in word.commitment.outputs
                },
                "jail": word.commitment.jail_level,
                "wall_s": word.commitment.usage.wall_s,
                "cpu_s": word.commitment.usage.cpu_s,
                "claimed_at": word.commitment.claimed_at,
            }
            for word in receipt.words
        ],
    }


def python_page(receipt: "PythonReceipt", report: "Report", rows: Rows) -> str:
    """One HTML page, with its style inside and no script."""
    first = _first(receipt)
    outputs = "".join(row_of(each.name, f"{each.kind} {each.hash.hex()}") for each in first.outputs)
    return wrapped_page(escape(first.job_id), report, rows, outputs)


def _first(receipt: "PythonReceipt") -> "PythonCommitment":
    """What the nodes that agree say; if none do, what the first one does."""
    return next(iter((*receipt.agreeing, *receipt.words))).commitment


def _share(receipt: "PythonReceipt") -> str:
    words, agree = len(receipt.words), len(receipt.agreeing)
    if words == 1:
        return "1 node"
    return f"{agree} of {format_count(words, 'node')} agree"
