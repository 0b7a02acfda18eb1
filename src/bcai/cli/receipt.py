"""`bcai receipt`: look at a receipt and check it, offline and without running anything."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_FAILED, EXIT_OK, FormatError, InputError, NotFoundError
from bcai.base.units import format_count
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.receipt_folder import look_around
from bcai.cli.receipt_page import print_checked, print_findings, write_page
from bcai.cli.terminal import print_json, stdout_console

if TYPE_CHECKING:
    from bcai.proof.check import Report
    from bcai.proof.python_receipt import PythonReceipt
    from bcai.proof.receipt import Receipt

FILE = Parameter(help="A receipt, or a folder with `receipt.bcai`.")


def check_receipt(
    file: Annotated[Path, FILE],
    /,
    *,
    outputs: Annotated[
        Path | None,
        Parameter(help="What you received: a folder, or a .safetensors, .npz or .npy file."),
    ] = None,
    node: Annotated[
        str | None, Parameter(help="The node's key: ed25519:... Default: whichever signed.")
    ] = None,
    client: Annotated[
        str | None, Parameter(help="Your key: ed25519:... Default: whoever signed the job, if any.")
    ] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Hold every part of a receipt against the others; 1 if something does not fit."""
    from bcai.cli.capture_receipt import check_captured, is_capture
    from bcai.proof import check
    from bcai.proof.keys import parse_key_id

    file = look_around(file).receipt
    python = _read_python(file)
    if python is not None:
        return _check_python(python, file, outputs, node, client, options)
    if is_capture(file):
        return check_captured(file, outputs, node, client, json=options.json)
    receipt = read_receipt(file)
    received, histories = ({}, ()) if outputs is None else _received(receipt, outputs)
    started = time.perf_counter()
    report = check.check_receipt(
        receipt,
        node=None if node is None else parse_key_id(node),
        client=None if client is None else parse_key_id(client),
        tensors=None if outputs is None else received,
    )
    unread = (f"{name!r} of the steps before the last one: replay says so" for name in histories)
    report = replace(report, unchecked=(*report.unchecked, *unread))
    took_s = time.perf_counter() - started
    size = file.stat().st_size
    if options.json:
        print_json(_document(receipt, report, size, took_s))
    else:
        _print_report(receipt, report, size, took_s, received)
    return EXIT_OK if report.is_clean else EXIT_FAILED


def show_receipt(
    file: Annotated[Path, FILE],
    /,
    *,
    html: Annotated[
        Path | None, Parameter(help="Write a page here instead, with no links.")
    ] = None,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Show a receipt, and what a check of it finds."""
    from bcai.cli.capture_receipt import is_capture, show_captured
    from bcai.cli.receipt_page import receipt_page, receipt_rows
    from bcai.proof import check

    file = look_around(file).receipt
    python = _read_python(file)
    if python is not None:
        return _show_python(python, file, html, options)
    if is_capture(file):
        return show_captured(file, html, json=options.json)
    receipt = read_receipt(file)
    report = check.check_receipt(receipt)
    rows = receipt_rows(receipt, file.stat().st_size)
    if html is not None:
        write_page(html, receipt_page(receipt, report, rows))
    if options.json:
        print_json(_document(receipt, report, file.stat().st_size, None))
    elif html is None:
        console = stdout_console()
        for title, value in rows:
            console.print(f"{title:<17}{value}", markup=False, soft_wrap=True)
        print_findings(report)
    return EXIT_OK


def read_receipt(file: Path) -> "Receipt":
    """Read the receipt of a traced run. Raises InputError."""
    from bcai.proof.python_receipt import is_python_receipt
    from bcai.proof.receipt import decode_receipt

    data = _read(file)
    if is_python_receipt(data):
        raise InputError(
            f"{file}: the receipt of Python code, which no trace covers: it can be neither "
            "replayed nor disputed",
            hint=f"look at what its nodes say: bcai receipt check {file}",
        )
    try:
        return decode_receipt(data)
    except FormatError as error:
        raise FormatError(f"{file}: {error}") from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {str(file)!r}") from None
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror}") from error


def _read_python(file: Path) -> "PythonReceipt | None":
    """The receipt of Python code, if it is one."""
    from bcai.proof.python_receipt import decode_python_receipt, is_python_receipt

    data = _read(file)
    if not is_python_receipt(data):
        return None
    try:
        return decode_python_receipt(data)
    except FormatError as error:
        raise FormatError(f"{file}: {error}") from error


def _check_python(
    receipt: "PythonReceipt",
    file: Path,
    outputs: Path | None,
    node: str | None,
    client: str | None,
    options: OutputOptions,
) -> int:
    from bcai.cli.python_receipt import print_python_report, python_document, received_outputs
    from bcai.proof.keys import parse_key_id
    from bcai.proof.python_check import check_python_receipt

    received = None if outputs is None else received_outputs(receipt, outputs)
    started = time.perf_counter()
    report = check_python_receipt(
        receipt,
        node=None if node is None else parse_key_id(node),
        client=None if client is None else parse_key_id(client),
        received=received,
    )
    took_s, size = time.perf_counter() - started, file.stat().st_size
    if options.json:
        print_json(python_document(receipt, report, size, took_s))
    else:
        print_python_report(receipt, report, size, took_s, len(received or ()))
    return EXIT_OK if report.is_clean else EXIT_FAILED


def _show_python(
    receipt: "PythonReceipt", file: Path, html: Path | None, options: OutputOptions
) -> int:
    from bcai.cli.python_receipt import (
        print_python_receipt,
        python_document,
        python_page,
        python_rows,
    )
    from bcai.proof.python_check import check_python_receipt

    report, size = check_python_receipt(receipt), file.stat().st_size
    if html is not None:
        write_page(html, python_page(receipt, report, python_rows(receipt, size)))
    if options.json:
        print_json(python_document(receipt, report, size, None))
    elif html is None:
        print_python_receipt(receipt, report, size)
    return EXIT_OK


def _received(receipt: "Receipt", path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What was received and the receipt knows of; a results folder has other things too.

    A training's history has a row for each step and the receipt has the last one: that one is
    held against it, and the names of such histories are returned as well.
    """
    from bcai.cli.tensor_files import as_signed, read_results

    found = read_results(path, "--outputs")
    last = {each.name: each.type.shape for each in receipt.last_outputs}
    types = {each.name: str(each.type) for each in (*receipt.final_state, *receipt.last_outputs)}
    named = as_signed({name: array for name, array in found.items() if name in types}, types)
    if not named:
        there = ", ".join(sorted(found)[:5]) or "nothing"
        raise NotFoundError(f"--outputs {path}: found {there}, expected outputs of the receipt")
    histories = tuple(
        name
        for name, array in named.items()
        if name in last and array.ndim > len(last[name]) and array.shape[1:] == last[name]
        and 0 < len(array) <= receipt.run.steps
    )  # fmt: skip
    return named | {name: named[name][-1] for name in histories}, histories


def _print_report(
    receipt: "Receipt", report: "Report", size: int, took_s: float, received: "Any"
) -> None:
    steps = format_count(receipt.run.steps, "step")
    checkpoints = format_count(len(receipt.checkpoints), "checkpoint")
    held = format_count(len(received), "tensor") if received else ""
    what = f"{steps}, {checkpoints}, evidence {receipt.commitment.evidence}"
    print_checked(report, what, size, took_s, held)


def _document(
    receipt: "Receipt", report: "Report", size: int, took_s: float | None
) -> dict[str, Any]:
    from bcai.cli.receipt_page import receipt_rows

    commitment = receipt.commitment
    return {
        "clean": report.is_clean,
        "findings": [{"name": each.name, "message": each.message} for each in report.findings],
        "checked": list(report.checked),
        "unchecked": list(report.unchecked),
        "check_s": took_s,
        "size_bytes": size,
        "job_id": commitment.job_id,
        "evidence": commitment.evidence.value,
        "run": receipt.run.digest.hex(),
        "steps": receipt.run.steps,
        "checkpoints": len(receipt.checkpoints),
        "trace_root": commitment.trace.root.hex(),
        "final_state": commitment.final_state.hex(),
        "outputs": {
            each.name: {"type": each.type, "hash": each.hash.hex()} for each in commitment.outputs
        },
        "claims": dict(receipt_rows(receipt, size)),
    }
