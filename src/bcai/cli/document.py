"""A job as a JSON document: what `--json` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bcai.base.values import encode_value
from bcai.jobs.cost import cost_of_job
from bcai.jobs.outcome import Output
from bcai.jobs.spec import JobSpec
from bcai.wire.jobs import JobView


def job_document(
    job: JobView,
    *,
    metrics: Sequence[Mapping[str, object]] | None = None,
    files: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Describe a job: the same keys for `run`, `jobs list`, `jobs show` and `jobs results`.

    Numbers that JSON lacks are `{"$number": "nan"}`. Sizes end in `_bytes`, durations in `_s`,
    times are Unix seconds. `metrics` and `files` are there only where they are known.
    """
    outcome = job.outcome
    jail = outcome.jail if outcome else None
    ran_in = outcome.environment if outcome else None
    document: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "state": job.state.value,
        "progress": job.progress,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "node": job.attempts[-1].node_name if job.attempts else None,
        "attempts": len(job.attempts),
        "jail": None if jail is None else jail.level,
        "start": None if jail is None else jail.start or None,
        "limits": {} if jail is None else jail.limits,
        "security_level": job.spec.security_level.value,
        "environment": None if ran_in is None else asdict(ran_in),
        "reason": _reason(job),
        "verify": str(job.spec.verify),
        "cost": asdict(cost_of_job(job.spec)),
        "settlement": None if job.settlement is None else asdict(job.settlement),
        "outputs": {} if outcome is None else {o.name: _output(o) for o in outcome.outputs},
        "usage": None,
        "exit_status": None if outcome is None else outcome.exit_status,
        "user_line": None if outcome is None else outcome.user_line,
        "warnings": warnings_of(job),
        "inspection": None if outcome is None or outcome.audit is None else asdict(outcome.audit),
    }
    if outcome is not None:
        usage = outcome.usage
        document["usage"] = {
            "wall_s": usage.wall_s,
            "cpu_s": usage.cpu_s,
            "memory_bytes_peak": usage.memory_bytes_peak,
            "log_bytes": usage.log_bytes,
            "fuel": usage.fuel,
            "disk_bytes_peak": usage.disk_bytes_peak,
            "inodes_peak": usage.inodes_peak,
            "processes_peak": usage.processes_peak,
            "output_bytes": usage.output_bytes,
        }
    if metrics is not None:
        document["metrics"] = [encode_value(dict(metric)) for metric in metrics]
    if files is not None:
        document["files"] = list(files)
    return document


def warnings_of(job: JobView) -> list[str]:
    """Every warning about a job, each once, in order."""
    found = [*job.warnings, *(job.outcome.warnings if job.outcome else ())]
    return list(dict.fromkeys(found))


def spec_document(spec: JobSpec) -> dict[str, Any]:
    """Describe what a job asks for, without its code."""
    return {
        "entry": spec.entry or spec.code_name,
        "files": [{"path": file.path, "size_bytes": file.size} for file in spec.files],
        "requirements": list(spec.requirements),
        "environment": spec.environment,
        "timeout_s": spec.limits.wall_s,
        "memory_bytes": spec.limits.memory_bytes,
        "max_retries": spec.max_retries,
        "required_outputs": list(spec.required_outputs),
        "security_level": spec.security_level.value,
    }


def _reason(job: JobView) -> dict[str, str] | None:
    reason = job.outcome.reason if job.outcome else job.waiting
    if reason is None:
        return None
    return {"code": reason.code.value, "message": reason.message, "hint": reason.hint}


def _output(output: Output) -> object:
    if output.kind == "value":
        return output.value
    return {
        "kind": output.kind,
        "summary": output.summary,
        "size_bytes": output.size,
        "digest": output.digest,
    }
