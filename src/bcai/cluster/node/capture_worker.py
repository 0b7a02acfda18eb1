"""Executes and records the operations of one captured script, in a process of its own.

Called as `python -m ... FOLDER MEMORY_BYTES BACKEND THREADS CHANNEL`; 0 threads: one a processor.
`CHANNEL` is a socket that leads to the script. When the script has closed its end, a line on
standard input says that the file `LEFT` has what has left the jail; then the receipt is signed.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import FormatError, ResourceError
from bcai.bridge.sandbox.jail import Cause
from bcai.cluster.node.capture_host import CaptureHost, serve
from bcai.cluster.node.evidence_shelf import RECEIPT as KEPT
from bcai.cluster.node.evidence_shelf import keep_job
from bcai.cluster.node.receipts import RECEIPT, ReceiptPlan, circumstances_of, own_usage
from bcai.cluster.node.verified_worker import used_so_far, within_limits
from bcai.cluster.node.worker_messages import INPUTS, LEFT, OUTPUTS, tell
from bcai.proof.capture import CaptureTerms
from bcai.proof.capture_receipt import OPERATION, encode_capture, issue_capture
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.commitment import OutputHash
from bcai.proof.keys import read_key
from bcai.proof.state import canonical_tensors
from bcai.proof.tensors import load_tensors
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.versions import LATEST
from bcai.vm.runtime.choose_backend import Choice, choose_backend

GIVEN_FILE = "given.safetensors"
SEED = 0  # of the script's generators, until it sets its own
UNMAPPED_MAX = 200  # operations and lines that a receipt lists


def main() -> None:
    """Serve the script that the arguments name."""
    folder, memory_bytes = Path(sys.argv[1]), int(sys.argv[2])
    wish, threads = sys.argv[3], int(sys.argv[4]) or None
    started = time.monotonic()
    with within_limits(memory_bytes):
        choice = choose_backend(wish, threads=threads)
        recorder = CaptureRecorder()
        host = CaptureHost(recorder, choice.backend, ReferenceBackend(), memory_bytes)
        try:
            with socket.socket(fileno=int(sys.argv[5])) as channel:
                serve(channel, host)
        except ResourceError as error:
            tell(kind="failed", cause=Cause.MEMORY, message=str(error), hint=error.hint)
            return
        if not sys.stdin.readline():
            return  # the job failed: nothing is signed
        if not recorder.leaves:
            raise FormatError("the script ran no tensor operation: there is nothing to sign")
        left = json.loads((folder / LEFT).read_text())
        tell(kind="done", **_sign(folder, left, host, choice, time.monotonic() - started))


def _sign(
    folder: Path, left: dict[str, Any], host: CaptureHost, choice: Choice, wall_s: float
) -> dict[str, Any]:
    """Bind what left the jail to the trace, and write the receipt and the given values."""
    plan = ReceiptPlan.read(folder)
    outputs = folder / OUTPUTS
    outputs.mkdir()
    others, unbound = bind_outputs(folder, left["outputs"], host.recorder)
    level, layers = left["jail"]
    receipt = issue_capture(
        CaptureTerms(LATEST.version, SEED),
        host.recorder.leaves,
        host.programs,
        circumstances=circumstances_of(
            plan.job_id, level, tuple(layers), choice, own_usage(wall_s)
        ),
        key=read_key(plan.key_file),
        spec=plan.spec,
        unmapped=[*_unmapped(host.recorder), *unbound],
        others=others,
    )
    (outputs / RECEIPT).write_bytes(encode_capture(receipt))
    save_file(host.given, outputs / GIVEN_FILE)
    if plan.evidence is not None:
        keep_job(plan.evidence, {KEPT: outputs / RECEIPT, INPUTS: outputs / GIVEN_FILE})
    return {
        "receipt": RECEIPT,
        "given": GIVEN_FILE,
        "values": len(host.given),
        "bytes_peak": host.bytes_peak,
        "used": used_so_far(),
    }


def bind_outputs(
    folder: Path, named: list[dict[str, str]], recorder: CaptureRecorder
) -> tuple[list[OutputHash], list[str]]:
    """Name the values that left the job; returns the others, and what to say of them."""
    others: list[OutputHash] = []
    unbound: list[str] = []
    for output in named:
        content = (folder / output["file"]).read_bytes()
        missing: list[str] = []
        if output["kind"] in ("array", "state_dict"):
            try:
                tensors = canonical_tensors(load_tensors(content))
            except FormatError:  # such as float8: bound as the bytes that they are
                tensors = {}
                missing.append(output["name"])
            for name, array in sorted(tensors.items()):
                whole = output["name"] if output["kind"] == "array" else f"{output['name']}.{name}"
                if not recorder.named(whole, array):
                    missing.append(whole)
            if not missing:
                continue
        elif output["kind"] == "value" and _is_named(output["name"], content, recorder):
            continue
        others.append(OutputHash(output["name"], "bytes", blake3(content).digest()))
        if output["kind"] != "value":
            which = ", ".join(missing[:5]) or "a file"
            unbound.append(f"output {output['name']!r}: {which} is no value of the trace")
        else:
            unbound.append(f"output {output['name']!r}: a plain value of the script's")
    return others, unbound


def _is_named(name: str, content: bytes, recorder: CaptureRecorder) -> bool:
    """Whether a plain number is a scalar of the trace, such as the last loss."""
    value: Any = json.loads(content)
    dtypes: tuple[str, ...] = ()
    if type(value) in (int, float):
        dtypes = ("float32", "float64") if type(value) is float else ("int64",)
    return any(
        np.dtype(each).type(value) == value and recorder.named(name, np.asarray(value, each))
        for each in dtypes
    )


def _unmapped(recorder: CaptureRecorder) -> list[str]:
    """The operations that the script's own torch executed, the most frequent first."""
    found = [
        f"{OPERATION}{op}: {count} times, {place or 'no line of the script'}"
        for (op, place), count in recorder.unmapped.most_common(UNMAPPED_MAX)
    ]
    rest = len(recorder.unmapped) - len(found)
    return [*found, f"{OPERATION}and line: {rest} more"] if rest > 0 else found


if __name__ == "__main__":
    main()
