"""How a job ended, with everything it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from bcai.base.errors import JobCancelledError, JobError, JobFailedError, JobTimedOutError
from bcai.base.values import encode_value
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.outcome import Outcome, Reason, Usage
from bcai.jobs.settlement import Settlement
from bcai.jobs.states import JobState
from bcai.sdk.attestation import attestation_of
from bcai.sdk.history import Metric
from bcai.sdk.outputs import Outputs
from bcai.sdk.save import save_result
from bcai.wire.jobs import OUTCOME, JobView

if TYPE_CHECKING:
    from bcai.proof.capture_receipt import CaptureReceipt
    from bcai.proof.python_receipt import PythonReceipt
    from bcai.proof.receipt import Receipt

_ERRORS: dict[JobState, type[JobError]] = {
    JobState.FAILED: JobFailedError,
    JobState.CANCELLED: JobCancelledError,
    JobState.TIMED_OUT: JobTimedOutError,
}


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """How a job ended.

    Attributes
    ----------
    outputs
        Named outputs: `result.outputs["loss"]`.
    logs
        What the job wrote, stdout and stderr in order.
    metrics
        What `bcai.log` logged, as `{"step": 3, "loss": 0.25}`, of the attempt that counts.
    warnings
        What the network has to say, such as that a GPU job ran on the CPU.
    """

    job: JobView
    outputs: Outputs
    logs: str = ""
    metrics: tuple[Metric, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Result of {self.job_id}: {self.status}, outputs: {', '.join(self.outputs)}>"

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def status(self) -> str:
        """Name of the final state: SUCCEEDED, FAILED, CANCELLED or TIMED_OUT."""
        return str(self.job.state)

    @property
    def succeeded(self) -> bool:
        """Whether the job SUCCEEDED."""
        return self.job.state is JobState.SUCCEEDED

    @property
    def outcome(self) -> Outcome | None:
        """What the network recorded; None if it ended before any attempt."""
        return self.job.outcome

    @property
    def reason(self) -> Reason | None:
        """Why it ended so: `code`, `message` and `hint`."""
        return self.outcome.reason if self.outcome else self.job.reason

    @property
    def usage(self) -> Usage:
        """What the job used."""
        return self.outcome.usage if self.outcome else Usage()

    @property
    def wall_s(self) -> float:
        """Seconds that the job ran."""
        return self.usage.wall_s

    @property
    def node(self) -> str:
        """Name of the node that ran it; empty if none did."""
        return self.job.attempts[-1].node_name if self.job.attempts else ""

    @property
    def jail(self) -> JailReport | None:
        """The walls it ran behind; None if it never ran."""
        return self.outcome.jail if self.outcome else None

    @property
    def settlement(self) -> Settlement | None:
        """Whether the result is taken for true, as it was known when the job ended.

        None for jobs that asked for no check. An audit comes later: `client.job(id)` knows.
        """
        return self.job.settlement

    @property
    def receipt(self) -> "Receipt | None":
        """What the node signed of a traced run; None for jobs that leave none. It is not checked.

        That of a captured script is `capture_receipt`.

        Raises
        ------
        FormatError
            What the gateway sent is not what the node left.
        """
        from bcai.proof.receipt import decode_receipt

        digest = self.outcome.receipt if self.outcome else None
        if digest is None or self.job.spec.capture:
            return None
        return decode_receipt(self.outputs.blob(digest))

    @property
    def capture_receipt(self) -> "CaptureReceipt | None":
        """What the node signed of a captured script's operations; None for other jobs.

        Raises
        ------
        FormatError
            What the gateway sent is not what the node left.
        """
        from bcai.proof.capture_receipt import decode_capture

        digest = self.outcome.receipt if self.outcome else None
        if digest is None or not self.job.spec.capture:
            return None
        return decode_capture(self.outputs.blob(digest))

    @property
    def attestation(self) -> "PythonReceipt | None":
        """The word of every node that did a job of Python; None for other jobs.

        One node's word is of class `attested`; that of several which agree, `replicated`.
        """
        return attestation_of(self.job)

    @property
    def receipt_bytes(self) -> bytes | None:
        """The receipt as the file that `bcai receipt check` reads.

        Of Python code that no trace covers, that is the attestation.
        """
        digest = self.outcome.receipt if self.outcome else None
        return self.attestation_bytes if digest is None else self.outputs.blob(digest)

    @property
    def attestation_bytes(self) -> bytes | None:
        """The attestation as a file, which `bcai receipt check` reads, too."""
        found = self.attestation
        if found is None:
            return None
        from bcai.proof.python_receipt import encode_python_receipt

        return encode_python_receipt(found)

    @property
    def training_metrics(self) -> dict[str, object]:
        """The last value of each metric, then numeric outputs, then `status` and `wall_s`."""
        last: dict[str, object] = {}
        for metric in self.metrics:
            last |= {name: value for name, value in metric.items() if name != "step"}
        for name in self.outputs:
            item = self.outputs.describe(name)
            if item.kind != "value" or name in last:
                continue
            value: object = self.outputs[name]
            if isinstance(value, int | float) and not isinstance(value, bool):
                last[name] = value
        return last | {"status": self.status, "wall_s": self.wall_s}

    def check(self) -> None:
        """Raise if the job did not succeed.

        Raises
        ------
        JobFailedError, JobCancelledError, JobTimedOutError
            With the reason, the user's line and a hint; `.result` is this result.
        """
        if self.succeeded:
            return
        reason = self.reason
        message = reason.message if reason else f"the job is {self.status}"
        error = _ERRORS.get(self.job.state, JobError)(
            f"{self.job_id} {self.status}: {message}{self._user_line(message)}",
            hint=reason.hint if reason else "",
        )
        error.result = self
        raise error

    def save(self, folder: str | PathLike[str]) -> dict[str, Path]:
        """Write everything to a folder; return what was written, by name.

        A state_dict becomes NAME.safetensors, an array NAME.npy (NAME.safetensors where NumPy has
        no such type), a file keeps its name; plain values are in outputs.json, the rest in
        metrics.jsonl, logs.txt and result.json. The files take their places when all are written,
        result.json last, and those of an earlier result go; where that fails, the folder stays as
        it was.
        """
        return save_result(self, Path(folder))

    def to_dict(self) -> dict[str, object]:
        """Strict JSON data: all but the logs and the outputs that are not plain values."""
        outcome: Mapping[str, object] = (
            OUTCOME.dump_python(self.outcome, mode="json") if self.outcome else {}
        )
        return {
            "job_id": self.job_id,
            "name": self.name,
            "status": self.status,
            "node": self.node,
            **outcome,
            "warnings": list(self.warnings),
            "training_metrics": encode_value(self.training_metrics),
        }

    def _user_line(self, message: str) -> str:
        """Show the line of the user's code where it happened, if the script is known."""
        number = self.outcome.user_line if self.outcome else None
        code = self.job.spec.code
        lines = code.splitlines() if code is not None else []
        if number is None or not 1 <= number <= len(lines):
            return f" (line {number})" if number and f"line {number}" not in message else ""
        return f"\n  {self.job.spec.code_name}:{number}: {lines[number - 1].strip()}"
