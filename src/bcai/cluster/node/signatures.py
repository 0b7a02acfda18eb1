"""Whether a job is what somebody signed, and was not given to this node before as another job.

Nonces are kept in a file of lines `NONCE JOB_ID EXPIRES_AT` until they expire, so that a node which
was started again remembers them. One line is lost at most, if the machine dies at that moment.
"""

import threading
from pathlib import Path

from bcai.base.errors import InputError
from bcai.jobs.sign_spec import SKEW_S, check_signature
from bcai.jobs.signature import SpecSignature
from bcai.jobs.spec import JobSpec

NONCES_MAX = 1_000_000
"""Beyond, the oldest are forgotten: a node that runs so many jobs in a month has others to fear."""


class SignatureGate:
    """Lets in what is signed, whole, in its time, and new."""

    def __init__(self, file: Path, now: float) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._jobs: dict[str, str] = {}
        kept = [line for line in _read(file) if line[2] + SKEW_S >= now][-NONCES_MAX:]
        self._jobs = {nonce: job_id for nonce, job_id, _ in kept}
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text("".join(f"{nonce} {job} {end}\n" for nonce, job, end in kept))
        part.replace(file)

    def admit(self, spec: JobSpec, job_id: str, now: float) -> SpecSignature:
        """Return the signature of a job that may run here; another attempt of it may, too.

        Raises
        ------
        InputError
            It is not signed, altered, expired, or was another job before.
        """
        signature = check_signature(spec, now)
        with self._lock:
            before = self._jobs.setdefault(signature.nonce, job_id)
            if before != job_id:
                raise InputError(
                    f"the job was signed once, for {before}, and is not run again as {job_id}",
                    hint="sign each job anew: the SDK does",
                )
            if len(self._jobs) > NONCES_MAX:
                del self._jobs[next(iter(self._jobs))]
            with self._file.open("a") as file:
                file.write(f"{signature.nonce} {job_id} {signature.expires_at}\n")
        return signature


def _read(file: Path) -> list[tuple[str, str, int]]:
    """The whole lines of a file."""
    try:
        lines = [line.split() for line in file.read_text("ascii", "replace").splitlines()]
    except FileNotFoundError:
        return []
    return [(line[0], line[1], int(line[2])) for line in lines if _is_whole(line)]


def _is_whole(line: list[str]) -> bool:
    return len(line) == 3 and len(line[0]) == 32 and line[2].isdecimal()
