"""What a challenger signs of an audit that agrees, and what it finds in others' agreements."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcai.cluster.node.audit import AuditReport
    from bcai.jobs.settlement import Voucher
    from bcai.wire.jobs import JobView

KEY_FILE = "challenger.pem"


def audit_path(job_id: str) -> str:
    """Where a job's audit is."""
    from bcai.sdk.transport import job_path

    return job_path(job_id).replace("/v1/jobs/", "/v1/audits/")


def sign_for(job: "JobView", report: "AuditReport", home: Path) -> str:
    """Sign that a job came out the same here, with the challenger's key, made if there is none."""
    from bcai.proof.agreement import Agreement, agreement_text, sign_agreement, witness_of
    from bcai.proof.keys import own_key

    assert job.outcome is not None
    assert job.outcome.receipt is not None
    key = own_key(home / KEY_FILE, os.urandom)
    last = report.last_step
    agreement = Agreement(
        job_id=job.id,
        receipt=bytes.fromhex(job.outcome.receipt.partition(":")[2]),
        trace=report.trace,
        witness=None if last is None else witness_of(key.public, last),
        challenger=key.public,
        claimed_at=time.time(),
    )
    return agreement_text(sign_agreement(agreement, key))


def without_computing(job: "JobView", report: "AuditReport") -> "list[Voucher]":
    """Who has vouched for the job with a witness that is not what its last step gives."""
    from bcai.proof.agreement import read_agreement, witness_of

    if job.settlement is None or report.last_step is None:
        return []
    found: list[Voucher] = []
    for voucher in job.settlement.vouchers:
        words = read_agreement(voucher.agreement).agreement
        if words.witness != witness_of(words.challenger, report.last_step):
            found.append(voucher)
    return found
