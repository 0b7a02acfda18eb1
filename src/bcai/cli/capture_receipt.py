"""The receipt of a captured script on the terminal: checked, shown, replayed."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcai.base.errors import EXIT_FAILED, EXIT_OK, FormatError, InputError, NotFoundError
from bcai.base.units import format_count, format_size
from bcai.cli.receipt_page import claimed_time, print_checked, print_findings, write_page
from bcai.cli.terminal import print_json, stdout_console

if TYPE_CHECKING:
    from bcai.proof.capture_receipt import CaptureReceipt
    from bcai.proof.check import Report
    from bcai.vm.compiler.backend import Backend
    from bcai.vm.isa.types import Array

_HEAD_BYTES = 64
_GIVEN = ("captured_inputs.safetensors", "inputs.safetensors")
_RESULTS = (".safetensors", ".npy")


def is_capture(file: Path) -> bool:
    """Whether a file is the receipt of a captured script."""
    from bcai.proof.capture_receipt import MAGIC

    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD_BYTES).startswith(MAGIC)
    except OSError:
        return False  # whoever reads it as a plain receipt says why


def check_captured(
    file: Path, outputs: Path | None, node: str | None, client: str | None, *, json: bool
) -> int:
    """Hold every part against the others; 1 if something does not fit."""
    from bcai.proof.capture_check import check_capture
    from bcai.proof.keys import parse_key_id

    receipt = read_capture(file)
    tensors, files = ({}, {}) if outputs is None else _received(receipt, outputs)
    started = time.perf_counter()
    report = check_capture(
        receipt,
        node=None if node is None else parse_key_id(node),
        client=None if client is None else parse_key_id(client),
        tensors=tensors,
        files=files,
    )
    took_s = time.perf_counter() - started
    size = file.stat().st_size
    if json:
        print_json(_document(receipt, report, size, took_s))
        return EXIT_OK if report.is_clean else EXIT_FAILED
    parts, given = _counts(receipt)
    what = f"{format_count(parts, 'part')}, {format_count(given, 'given value')}"
    counts = ((len(tensors), "tensor"), (len(files), "untraced output"))
    held = ", ".join(format_count(count, noun) for count, noun in counts if count)
    print_checked(report, f"{what}, evidence {receipt.commitment.evidence}", size, took_s, held)
    return EXIT_OK if report.is_clean else EXIT_FAILED


def show_captured(file: Path, html: Path | None, *, json: bool) -> int:
    """Show what it says, and what a check finds."""
    from bcai.cli.capture_page import capture_page
    from bcai.proof.capture_check import check_capture

    receipt = read_capture(file)
    report = check_capture(receipt)
    size = file.stat().st_size
    rows = capture_rows(receipt, size)
    if html is not None:
        write_page(html, capture_page(receipt, report, rows))
    if json:
        print_json(_document(receipt, report, size, None))
    elif html is None:
        console = stdout_console()
        for title, value in rows:
            console.print(f"{title:<17}{value}", markup=False, soft_wrap=True)
        print_findings(report)
    return EXIT_OK


def replay_captured(file: Path, data: Path | None, backend: str | None, *, json: bool) -> int:
    """Run every part again; 1 if one comes out otherwise."""
    from bcai.proof.capture_replay import replay_capture

    receipt = read_sound(file)
    given = given_values(data or given_file(file), receipt)
    chosen = backend_of(backend)
    started = time.perf_counter()
    found = replay_capture(receipt, given, chosen)
    took_s = time.perf_counter() - started
    at = found.difference
    if json:
        print_json(
            {
                "agrees": at is None,
                "backend": chosen.name,
                "compared": found.parts,
                "wall_s": took_s,
                "difference": None
                if at is None
                else {"leaf": at.leaf, "result": at.result, "program": at.program.hex()},
            }
        )
        return EXIT_OK if at is None else EXIT_FAILED
    console = stdout_console()
    if at is None:
        parts = format_count(found.parts, "part")
        console.print(
            f"agrees: {parts} to the end, on {chosen.name}, in {took_s:.2f} s", markup=False
        )
        return EXIT_OK
    console.print(f"DIFFERS at leaf {at.leaf}: result {at.result} of its part", markup=False)
    console.print(f"  receipt  {at.expected.hex()}", markup=False)
    console.print(f"  replayed {at.found.hex()}", markup=False)
    return EXIT_FAILED


def read_capture(file: Path) -> "CaptureReceipt":
    """Read a receipt file. Raises FormatError."""
    from bcai.proof.capture_receipt import decode_capture

    try:
        return decode_capture(file.read_bytes())
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror}") from error
    except FormatError as error:
        raise FormatError(f"{file}: {error}") from error


def read_sound(file: Path) -> "CaptureReceipt":
    """Read one whose parts can be run. Raises FormatError; InputError where it does not fit."""
    from bcai.proof.capture_check import check_capture

    receipt = read_capture(file)
    findings = check_capture(receipt).findings
    if findings:
        raise InputError(
            f"{file} does not fit together: {findings[0].name}: {findings[0].message}",
            hint="`bcai receipt check` names all that does not fit",
        )
    return receipt


def capture_rows(receipt: "CaptureReceipt", size: int) -> list[tuple[str, str]]:
    """What a receipt says, line by line."""
    from bcai.proof.keys import key_id

    at, usage = receipt.commitment, receipt.commitment.usage
    parts, given = _counts(receipt)
    instructions = sum(len(each.instructions) for each in receipt.programs)
    programs = format_count(len(receipt.programs), "program")
    memory = format_size(usage.memory_bytes_peak)
    return [
        ("job", at.job_id),
        ("evidence", at.evidence.value),
        ("parts", f"{parts}, of {programs} with {format_count(instructions, 'instruction')}"),
        ("given values", str(given)),
        ("trace", f"{at.trace.size} leaves, {at.trace.root.hex()}"),
        ("named tensors", at.final_state.hex()),
        ("client", "not signed" if receipt.spec is None else key_id(receipt.spec.client)),
        ("node", key_id(at.node)),
        ("backend", f"{at.backend}: {at.device}"),
        ("jail (claimed)", f"{at.jail_level}: {', '.join(at.jail_layers) or 'no layer'}"),
        ("used (claimed)", f"{usage.wall_s:.1f} s, {usage.cpu_s:.1f} s of processor, {memory}"),
        ("time (claimed)", claimed_time(at.claimed_at)),
        ("size", format_size(size)),
    ]


def _counts(receipt: "CaptureReceipt") -> tuple[int, int]:
    from bcai.proof.capture import GivenLeaf, PartLeaf

    parts = sum(isinstance(each, PartLeaf) for each in receipt.leaves)
    return parts, sum(isinstance(each, GivenLeaf) for each in receipt.leaves)


def given_file(receipt: Path) -> Path | None:
    """What the script gave, beside a receipt in a folder of results, or one that a node keeps."""
    files = (receipt.with_name(name) for name in _GIVEN)
    return next((file for file in files if file.is_file()), None)


def given_values(data: Path | None, receipt: "CaptureReceipt") -> "dict[str, Array]":
    """Read what the script gave. Raises InputError where it is missing."""
    from bcai.cli.tensor_files import read_tensors

    if data is None and not _counts(receipt)[1]:
        return {}
    if data is None:
        raise InputError(
            "--data is missing: the values that the script gave",
            hint="they are the job's output captured_inputs",
        )
    return read_tensors(data, "--data")


def backend_of(wish: str | None) -> "Backend":
    """What computes: the wish, or that of the settings."""
    from bcai.settings import read_settings
    from bcai.vm.runtime.choose_backend import choose_backend

    return choose_backend(wish or read_settings().enhanced_vm.hardware_backend).backend


def _received(receipt: "CaptureReceipt", path: Path) -> "tuple[dict[str, Array], dict[str, bytes]]":
    """What was received and the receipt names: `model.0.weight` is of the file `model`.

    Outputs that are no values of the trace, such as a last batch of row numbers, are bound as
    they were stored: of these the second has the hashes.
    """
    from bcai.cli.python_receipt import hash_output
    from bcai.cli.tensor_files import as_signed, read_tensors

    if not path.exists():
        raise NotFoundError(f"--outputs: there is no {str(path)!r}")
    types = {each.name: each.type for each in receipt.commitment.outputs if each.type != "bytes"}
    whole = {each.name: each.hash for each in receipt.commitment.outputs if each.type == "bytes"}
    found: dict[str, Array] = {}
    hashes: dict[str, bytes] = {}
    for file in sorted(path.glob("*")) if path.is_dir() else [path]:
        if file.name in whole and file.is_file():
            hashes[file.name] = hash_output(file, "file", whole[file.name])
        if file.suffix not in _RESULTS:
            continue
        if file.stem in whole:
            kind = "array" if file.suffix == ".npy" else "file"
            hashes[file.stem] = hash_output(file, kind, whole[file.stem])
        for name, array in read_tensors(file, "--outputs").items():
            one = file.stem if name in (file.stem, "value") else f"{file.stem}.{name}"
            if one in types:
                found[one] = array
    if not found and not hashes:
        raise NotFoundError(f"--outputs {path}: found no output that the receipt names")
    return as_signed(found, types), hashes


def _document(
    receipt: "CaptureReceipt", report: "Report", size: int, took_s: float | None
) -> dict[str, Any]:
    at = receipt.commitment
    parts, given = _counts(receipt)
    return {
        "clean": report.is_clean,
        "findings": [{"name": each.name, "message": each.message} for each in report.findings],
        "checked": list(report.checked),
        "unchecked": list(report.unchecked),
        "check_s": took_s,
        "size_bytes": size,
        "job_id": at.job_id,
        "evidence": at.evidence.value,
        "run": at.run.hex(),
        "parts": parts,
        "given": given,
        "trace_root": at.trace.root.hex(),
        "final_state": at.final_state.hex(),
        "unmapped": list(at.unmapped),
        "outputs": {each.name: {"type": each.type, "hash": each.hash.hex()} for each in at.outputs},
        "claims": dict(capture_rows(receipt, size)),
    }
