"""What is kept of a training that is over: to defend it, and to hand it in after a crash.

A node that is killed after the last step and before it has handed in gets the job once more. What
it signed is there: it hands in that, and computes nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
)

from bcai.base.errors import BcaiError
from bcai.cluster.node.evidence_shelf import FIRST_STATE, OUTPUTS, RECEIPT, ROWS, STATES, keep_job
from bcai.cluster.node.receipts import RECEIPT as LEFT_RECEIPT
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.worker_messages import OUTPUTS as LEFT
from bcai.jobs.training import CHECKPOINTS, HISTORY, STATE
from bcai.jobs.training import ROWS as GIVEN_ROWS
from bcai.proof.commitment import is_commitment_signed
from bcai.proof.execute import check_state
from bcai.proof.keys import read_key
from bcai.proof.receipt import decode_receipt
from bcai.proof.run import Run
from bcai.proof.trace_file import decode_trace
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class ComputedBefore:
    """What an earlier attempt computed and did not get rid of."""

    state: Mapping[str, Array]
    history: Mapping[str, Array]


def keep_training(plan: ReceiptPlan, folder: Path, states: Mapping[int, Path]) -> None:
    """Keep a training whose receipt and outputs are in its folder."""
    if plan.evidence is None:
        return
    data, left = folder / "data", folder / LEFT
    files = {
        RECEIPT: left / LEFT_RECEIPT,
        ROWS: data / GIVEN_ROWS,
        _first_state(folder): data / STATE,
        f"{OUTPUTS}/{STATE}": left / STATE,
        f"{OUTPUTS}/{HISTORY}": left / HISTORY,
    }
    files |= {f"{STATES}/{step}.safetensors": file for step, file in states.items()}
    keep_job(plan.evidence, files)


def _first_state(folder: Path) -> str:
    """Where the state goes that the run began with here."""
    checkpoints = folder / "project" / CHECKPOINTS
    if not checkpoints.is_file():
        return FIRST_STATE
    done = decode_trace(checkpoints.read_bytes()).checkpoints[-1].step
    return f"{STATES}/{done}.safetensors"


def computed_before(
    plan: ReceiptPlan, program: VerifiedProgram, run: Run, outputs: Path
) -> ComputedBefore | None:
    """Leave what an earlier attempt of this very job signed, if all of it is there and fits."""
    kept = plan.evidence
    if kept is None:
        return None
    try:
        data = (kept / RECEIPT).read_bytes()
        receipt = decode_receipt(data)
        state = load_file(kept / OUTPUTS / STATE)
        history = load_file(kept / OUTPUTS / HISTORY)
        check_state(program, state, receipt.trace.final_state)
    except (OSError, SafetensorError, BcaiError):
        return None
    commitment = receipt.commitment
    asked = (plan.job_id, run.digest, read_key(plan.key_file).public)
    if (commitment.job_id, receipt.run.digest, commitment.node) != asked:
        return None
    if not is_commitment_signed(commitment, receipt.signature):
        return None
    outputs.mkdir()
    (outputs / LEFT_RECEIPT).write_bytes(data)
    for name in (STATE, HISTORY):
        (outputs / name).write_bytes((kept / OUTPUTS / name).read_bytes())
    return ComputedBefore(state, history)
