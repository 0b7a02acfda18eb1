"""Runs one job of untrusted Python in a jail, from request to exit."""

import threading
from dataclasses import replace

from bcai.base.errors import FormatError, NoJailError
from bcai.base.units import format_count, format_size
from bcai.bridge.limits import ALL_VALUES_BYTES_MAX
from bcai.bridge.sandbox.capture_asked import Capturer
from bcai.bridge.sandbox.cgroup import Cgroup
from bcai.bridge.sandbox.gpu import NO_GPU, GpuView, view_of
from bcai.bridge.sandbox.jail import Cause, JailExit, JailLimits, JailOutput, JailRequest, OnEvent
from bcai.bridge.sandbox.level import ALONE, JailReport, is_enough, said_aloud, weaker
from bcai.bridge.sandbox.outputs import new_output_file, read_output
from bcai.bridge.sandbox.probe import NO_CGROUP, probe_jail
from bcai.bridge.sandbox.process import ColdProcess
from bcai.bridge.sandbox.start_job import clashing_name, start_job
from bcai.bridge.sandbox.supervisor import Facts, Supervisor
from bcai.bridge.sandbox.trainer import Trainer
from bcai.bridge.sandbox.verdict import Verdict, judge, limit_warnings
from bcai.bridge.sandbox.warm import ZygotePool

# Twice what may travel, which is refused with more words. A value of a few bytes costs as many
# times its size once it is parsed: a job must not make us read a gigabyte of them.
_VALUES_READ_MAX = 2 * ALL_VALUES_BYTES_MAX


def launch(
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    zygotes: ZygotePool | None = None,
    *,
    level_max: str = "A",
    trainer: Trainer | None = None,
    capturer: Capturer | None = None,
) -> JailExit:
    """Run the job and wait for its end. Whatever happens, nothing of it is left running.

    Parameters
    ----------
    on_event
        Called from this thread with what the job does. If it raises, the job is killed.
    cancelled
        Set it from another thread to stop the job.
    zygotes
        Warm Pythons to start the job from, if its own is ready; else it starts cold.
    level_max
        The strongest level to build: `"A"`, `"B"` (no cgroup), `"C"` (no namespaces) or `"none"`.
        For tests, and for owners who want to see a weaker one. It never gives a job less than
        `request.security_level` asks for: `high` takes A or B, `standard` C as well, `trusted`
        anything; a job that asks for more is refused. The level built stands in the result.
    trainer
        Does the training that the script may ask for; None: it may not.
    capturer
        Executes the script's tensor operations, if `request.is_captured`.

    Raises
    ------
    NoJailError
        This machine cannot build the jail that the job asks for; nothing of the job ran.
    """
    probed = _standing(request, level_max)
    view = _gpu_view(request, probed.level)
    clash = clashing_name(request)
    if clash:
        message = f"the project and the data both have an entry named {clash!r}"
        return JailExit(Cause.EXCEPTION, message, probed, hint="rename one of the two")
    limits = request.limits
    in_cgroup = weaker(level_max, "B") != level_max
    outputs = new_output_file(limits.output_bytes)
    with start_job(request, outputs, zygotes, probed.level, view, in_cgroup=in_cgroup) as jail:
        start = "cold" if isinstance(jail.process, ColdProcess) else "warm"
        cgroup = jail.cgroup if in_cgroup else None  # one that stands by has no limits
        report = replace(_report(probed, request, cgroup), start=start)
        facts = Supervisor(jail, request, report, on_event, cancelled, trainer, capturer).watch()
        killed = jail.cgroup is not None and jail.cgroup.was_out_of_memory()
        if jail.cgroup is not None:  # it knows whom the kernel killed; the machine only that
            facts.is_machine_out_of_memory = jail.cgroup.was_taken()
        verdict = judge(facts, limits, killed_for_memory=killed)
        facts.warnings += limit_warnings(facts, limits, killed_for_memory=killed)
        kept, broken = _read_outputs(jail.outputs, facts, limits)
    verdict = _with_outputs(verdict, facts, request, kept, broken)
    return _exit(verdict, report, facts, kept)


def _standing(request: JailRequest, level_max: str) -> JailReport:
    """Say what this machine can build, if it is enough for the job."""
    probed = probe_jail(level_max, programs=request.security_level != "high")
    if is_enough(probed.level, request.security_level):
        return probed
    raise NoJailError(
        f"this machine cannot build the jail that security_level={request.security_level!r} "
        f"asks for, only level {probed.level}: " + "; ".join(probed.missing),
        hint="see `bcai doctor` and docs/security.md",
    )


def _gpu_view(request: JailRequest, level: str) -> GpuView:
    """Gather what shows a job its GPUs; refuse it where it cannot have them."""
    wanted, given = request.limits.gpu_count, len(request.gpus)
    if wanted != given:
        raise NoJailError(
            f"the job is to have {format_count(wanted, 'GPU')}, and was given {given}",
            hint="ask a node that has them: `bcai status` lists the nodes",
        )
    if given and level == "C":
        raise NoJailError(
            "a jail of level C gives no GPU: CUDA opens sockets, which are refused there",
            hint="ask for none, or see `bcai doctor` for what would lift this machine to level B",
        )
    return view_of(request.gpus) if request.gpus else NO_GPU


def _report(probed: JailReport, request: JailRequest, cgroup: Cgroup | None) -> JailReport:
    """Say what stands around this very job, not what was possible when it was probed."""
    walls = tuple(wall for wall in probed.layers if not wall.startswith("cgroup v"))
    walls += () if cgroup is None else (f"cgroup v{cgroup.version}",)
    level, missing = probed.level, probed.missing
    if level not in ALONE:
        level, missing = ("A", ()) if cgroup is not None else ("B", (NO_CGROUP,))
    in_force = request.limits.in_force()
    return JailReport(level, walls, in_force, missing, asked=request.security_level)


def _read_outputs(
    file: int, facts: Facts, limits: JailLimits
) -> tuple[tuple[JailOutput, ...], str]:
    """Results that pass every check, and what is wrong with the first that does not."""
    kept: list[JailOutput] = []
    broken = ""
    left, values_left = limits.output_bytes, _VALUES_READ_MAX
    for name, announced in facts.announced.items():
        left -= announced.size
        values_left -= announced.size if announced.kind == "value" else 0
        if left < 0:
            return tuple(kept), f"output {name!r}: the outputs are larger than announced"
        if values_left < 0:
            most = format_size(ALL_VALUES_BYTES_MAX)
            return tuple(kept), f"output {name!r}: the plain values take more than {most} together"
        try:
            kept.append(read_output(file, announced))
        except FormatError as error:
            broken = broken or f"output {name!r}: {error}"
    return tuple(kept), broken


def _with_outputs(
    verdict: Verdict,
    facts: Facts,
    request: JailRequest,
    kept: tuple[JailOutput, ...],
    broken: str,
) -> Verdict:
    """A script that ended well has still failed if its results are broken or missing."""
    if verdict.cause is not Cause.EXITED or facts.status != 0:
        return verdict
    if broken:
        return Verdict(Cause.OUTPUT_INVALID, broken)
    names = {output.name for output in kept}
    missing = [name for name in request.required_outputs if name not in names]
    if missing:
        hint = f"set a top-level variable of that name, or call bcai.output({missing[0]!r}, value)"
        listed = ", ".join(repr(name) for name in missing[:10])
        return Verdict(Cause.OUTPUT_MISSING, f"the script ended without the output {listed}", hint)
    return verdict


def _exit(
    verdict: Verdict, report: JailReport, facts: Facts, kept: tuple[JailOutput, ...]
) -> JailExit:
    warnings = [*said_aloud(report), *facts.warnings]
    if verdict.cause is Cause.EXITED and facts.claim is None:
        warnings.append("the script left without handing over its variables (os._exit, exit in a "
                        "thread, or a closed report channel)")  # fmt: skip
    return JailExit(
        verdict.cause,
        verdict.message,
        report,
        hint=verdict.hint,
        exit_status=facts.status,
        user_line=verdict.line,
        outputs=kept,
        warnings=tuple(warnings),
        wall_s=facts.wall_s,
        cpu_s=facts.cpu_s,
        memory_bytes_peak=facts.memory_bytes_peak,
        log_bytes=facts.log_bytes,
        disk_bytes_peak=facts.disk_bytes_peak,
        inodes_peak=facts.inodes_peak,
        processes_peak=facts.processes_peak,
        output_bytes=sum(announced.size for announced in facts.announced.values()),
    )
