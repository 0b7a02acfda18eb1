"""A receipt for every run of a verified Program: the node signs what its worker computed.

The worker is our own code and runs none of the user's, so it makes the receipt where the tensors
are; what it needs for that stands in a file beside the job's folders.
"""

import json
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bcai import __version__
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.ask_node import NodePython, around_code
from bcai.jobs.sign_spec import encode_spec
from bcai.jobs.spec import JobSpec
from bcai.proof.commitment import UsageClaim
from bcai.proof.issue import Circumstances, issue_receipt
from bcai.proof.keys import parse_key_id, read_key
from bcai.proof.receipt import SignedSpec, encode_receipt
from bcai.proof.recorder import Recorder
from bcai.proof.run import Run
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.runtime.choose_backend import Choice

RECEIPT = "receipt.bcai"
_PLAN = "receipt.json"


@dataclass(frozen=True, slots=True)
class ReceiptPlan:
    """What a worker needs to sign for its job.

    Attributes
    ----------
    key_file
        The node's key.
    jail
        Level and layers, as on the result.
    spec
        What the client signed; None if nobody did.
    evidence
        Where the job's evidence is kept; None: the owner keeps none.
    """

    job_id: str
    key_file: Path
    jail: JailReport
    spec: SignedSpec | None
    evidence: Path | None = None

    @classmethod
    def of(
        cls,
        job_id: str,
        spec: JobSpec,
        key_file: Path,
        jail: JailReport,
        evidence: Path | None = None,
    ) -> "ReceiptPlan":
        """The plan of a job; `evidence` is the node's folder for all jobs'."""
        signature = spec.signature
        signed = signature and SignedSpec(
            encode_spec(spec), parse_key_id(signature.key), bytes.fromhex(signature.value)
        )
        return cls(job_id, key_file, jail, signed, evidence and evidence / job_id)

    def write(self, folder: Path) -> None:
        """Leave it for the worker of this folder."""
        spec = self.spec
        signed = spec and [each.hex() for each in (spec.spec, spec.client, spec.signature)]
        jail = [self.jail.level, list(self.jail.layers)]
        kept = self.evidence and str(self.evidence)
        content = [self.job_id, str(self.key_file), jail, signed, kept]
        (folder / _PLAN).write_text(json.dumps(content))

    @classmethod
    def read(cls, folder: Path) -> "ReceiptPlan":
        """What `write` left."""
        job_id, key_file, (level, layers), signed, kept = json.loads((folder / _PLAN).read_text())
        spec = signed and SignedSpec(*(bytes.fromhex(each) for each in signed))
        jail = JailReport(level, tuple(layers))
        return cls(job_id, Path(key_file), jail, spec, kept and Path(kept))


def leave_receipt(
    folder: Path,
    run: Run,
    program: VerifiedProgram,
    recorder: Recorder,
    *,
    state: Mapping[str, Array],
    outputs: Mapping[str, Array],
    choice: Choice,
    wall_s: float,
    python: NodePython | None = None,
) -> str:
    """Sign for a run that is over; return the name of the file, which is among the outputs'.

    Parameters
    ----------
    python
        What ran the Python code of the program, in a jail, if it has some.
    """
    plan = ReceiptPlan.read(folder)
    used = own_usage(wall_s)
    layers = plan.jail.layers
    if python is not None:
        bytes_peak = max(used.memory_bytes_peak, python.memory_bytes_peak)
        used = UsageClaim(wall_s, used.cpu_s + python.cpu_s, bytes_peak)
        layers = around_code(layers, python.walls)
    circumstances = circumstances_of(plan.job_id, plan.jail.level, layers, choice, used)
    receipt = issue_receipt(
        run,
        program,
        recorder.finish(),
        state=state,
        outputs=outputs,
        output_roots=recorder.output_roots,
        circumstances=circumstances,
        key=read_key(plan.key_file),
        spec=plan.spec,
    )
    (folder / "outputs" / RECEIPT).write_bytes(encode_receipt(receipt))
    return RECEIPT


def own_usage(wall_s: float) -> UsageClaim:
    """What this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return UsageClaim(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def circumstances_of(
    job_id: str, level: str, layers: tuple[str, ...], choice: Choice, used: UsageClaim
) -> Circumstances:
    """What this process says of itself and of the walls around the job."""
    return Circumstances(
        job_id,
        choice.backend.name,
        choice.backend.device,
        _fingerprint(choice),
        level,
        layers,
        used,
        time.time(),
    )


def _fingerprint(choice: Choice) -> str:
    """What two machines must share for results outside the exact class to be compared."""
    parts = (f"bcai {__version__}", f"numpy {version('numpy')}", f"llvmlite {version('llvmlite')}")
    return "; ".join((platform.machine(), choice.backend.device, *parts))
