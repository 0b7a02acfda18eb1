"""Starts the jail of one job: alone, warm or cold, after a plan that its processes can read."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bcai.base.units import MIB
from bcai.bridge.sandbox import mounts
from bcai.bridge.sandbox.cgroup import Cgroup, GroupLimits, group_name, new_cgroup
from bcai.bridge.sandbox.environment import environment_variables, own_python
from bcai.bridge.sandbox.gpu import GpuView
from bcai.bridge.sandbox.jail import JailLimits, JailRequest
from bcai.bridge.sandbox.level import ALONE, runs_programs
from bcai.bridge.sandbox.process import (
    JailProcess,
    environment_binds,
    input_bind,
    library_bind,
    program_binds,
    start_jail,
)
from bcai.bridge.sandbox.start_alone import start_alone
from bcai.bridge.sandbox.warm import ZygotePool

_CGROUP_ROOM_BYTES = 64 * MIB  # for the jail's own two processes
_numbers = count(1)


@contextmanager
def start_job(
    request: JailRequest,
    outputs: int,
    zygotes: ZygotePool | None,
    level: str,
    view: GpuView,
    *,
    in_cgroup: bool,
) -> Generator[JailProcess, None, None]:
    """A jail that runs the job, warm if it can be; gone when the block is left.

    Parameters
    ----------
    outputs
        The file for its results, which it takes over.
    view
        What shows the job its GPUs.
    in_cgroup
        Put it into a control group, where the machine lets us make one.
    """
    plan, folders = _plan(request, level, view), _folders(request)
    together = _group_limits(request.limits) if in_cgroup else None
    python = request.python or own_python()
    processes = request.limits.processes
    if level in ALONE:
        cgroup = _new_cgroup(together)
        with start_alone(
            plan, request, python, outputs=outputs, cgroup=cgroup, variables=view.variables
        ) as jail:
            yield jail
        return
    programs = runs_programs(level, request.security_level)
    if request.gpus:
        zygotes = None  # a warm Python, and what was forked from it, sees none
    if zygotes is not None:
        warm = {**plan, "folders": folders, "environment": environment_variables(processes)}
        started = zygotes.start(
            request.tenant,
            warm,
            outputs=outputs,
            limits=together,
            python=python,
            inputs=request.inputs,
            programs=programs,
        )
        if started is not None:
            jail, zygote = started
            try:
                with jail:
                    yield jail
            finally:
                zygotes.done(zygote)
            return
    binds = [*environment_binds(python), *(program_binds() if programs else ()), *folders]
    binds += [library_bind(source, target) for source, target in view.libraries]
    cold = {**plan, "binds": binds}
    cgroup = _new_cgroup(together)
    with start_jail(
        cold,
        processes=processes,
        outputs=outputs,
        cgroup=cgroup,
        executable=python.executable,
        inputs=request.inputs,
        variables=view.variables,
    ) as jail:
        yield jail
    if zygotes is not None:
        # For the next one; this one wanted the processor itself.
        zygotes.warm_up(request.tenant, python, programs=programs)


def clashing_name(request: JailRequest) -> str:
    """Name of an entry that both input folders have; both would be `/job/<name>`."""
    if request.data is None:
        return ""
    names = {path.name for path in Path(request.project).iterdir()}
    return next((path.name for path in sorted(request.data.iterdir()) if path.name in names), "")


def _folders(request: JailRequest) -> list[dict[str, object]]:
    """The job's own folders, as binds."""
    folders = [input_bind(os.path.realpath(request.project), mounts.PROJECT)]
    if request.data is not None:
        folders.append(input_bind(os.path.realpath(request.data), mounts.DATA))
    return folders


def _plan(request: JailRequest, level: str, view: GpuView) -> dict[str, object]:
    """What the jail's processes need to know, as JSON data."""
    limits, python = request.limits, request.python or own_python()
    return {
        "level": level,
        "programs": runs_programs(level, request.security_level),
        "linked": [each["target"] for each in _folders(request)],
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "processes": limits.processes,
        "cpu_s": limits.cpu_s,
        "file_bytes": limits.file_bytes,
        "inodes": limits.inodes,
        "gpu_devices": view.devices,
        "guest": {
            "entry": request.entry,
            "arguments": list(request.arguments),
            "sys_path": python.sys_path,
            "allowed_imports": request.allowed_imports,
            "prefix": python.prefix,
            "exec_prefix": python.exec_prefix,
            "executable": python.executable,
            "output_bytes": limits.output_bytes,
            "level": level,
            "captured": request.is_captured,
            "programs": runs_programs(level, request.security_level),
            "work": mounts.WORK,
            "project": mounts.PROJECT,
            "data": mounts.DATA,
        },
    }


def _group_limits(limits: JailLimits) -> GroupLimits:
    """Cap everything together: the work folder and the results are memory, too."""
    most = limits.memory_bytes + limits.disk_bytes + 2 * limits.output_bytes + _CGROUP_ROOM_BYTES
    return GroupLimits(most, limits.processes)


def _new_cgroup(together: GroupLimits | None) -> Cgroup | None:
    return together and new_cgroup(group_name(str(next(_numbers))), together)
