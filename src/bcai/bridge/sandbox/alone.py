"""A job in one process, where namespaces cannot be made: level C, and the trusted job at none.

The program that builds the jail stays outside as the *keeper*: it makes the job's folder, forks the
job, watches its memory, kills it as soon as the launcher closes the leash (or dies), and says how
it ended. At level C the job is one process behind Landlock and seccomp, which can start no other:
killing it is killing everything. At level none no wall stands at all, so the keeper adopts whatever
the job leaves behind, and kills that as well.
"""

import contextlib
import os
import signal
from typing import Any, NoReturn

from bcai.bridge.sandbox import landlock, libc, limits, mounts, namespaces
from bcai.bridge.sandbox.confine import arrange_descriptors, give_up_rights, run
from bcai.bridge.sandbox.descendants import descendants, tasks_of_user
from bcai.bridge.sandbox.first_process import watch
from bcai.bridge.sandbox.stage import Places, stage
from bcai.bridge.sandbox.status import Status
from bcai.bridge.sandbox.syscall_policy import job_filter
from bcai.bridge.sandbox.syscalls import machine
from bcai.bridge.sandbox.watchdog import Watchdog

# Of itself, and of the machine what every program may know and libraries ask for.
_PROC_OWN = ("cmdline", "comm", "fd", "limits", "maps", "stat", "statm", "status")
_PROC_SHARED = ("cpuinfo", "meminfo", "stat", "sys/vm/overcommit_memory", "version")


def run_alone(plan: dict[str, Any], status: Status) -> None:
    """Run a job in one process, and return when nothing of it is left."""
    is_walled = plan["level"] == "C"
    outside_id = namespaces.own_id(status) if is_walled else None
    with status.step("job's folders"):
        places = stage(plan["folder"], plan["project"], plan["data"], outside_id)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    ready_read, ready_write = os.pipe()
    job = os.fork()
    if job == 0:
        os.close(0)
        os.close(ready_write)
        _become_job(plan, status, places, outside_id, ready_read)
    os.close(ready_read)
    for name, descriptor in plan["descriptors"].items():
        if name != "status":
            os.close(descriptor)
    # While these are open, the job's rules for its own entries of /proc stay true to them.
    held = [os.open(f"/proc/{job}/{name}", os.O_PATH | os.O_CLOEXEC) for name in _PROC_OWN]
    os.write(ready_write, b"x")
    os.close(ready_write)
    watch(job, _LoneWatchdog(plan["memory_bytes"], plan.get("cpu_s"), job), status, 0)
    _end_all()
    for descriptor in held:
        os.close(descriptor)


class _LoneWatchdog(Watchdog):
    """Counts what belongs to the job alone: it can share memory with nobody but its own."""

    def __init__(self, limit_bytes: int, cpu_s: float | None, job: int) -> None:
        super().__init__(limit_bytes, cpu_s)
        self._limit = limit_bytes
        self._job = job

    def look(self) -> float:
        """Measure once."""
        pids = (self._job, *descendants(self._job))
        self.look_at_time([str(pid) for pid in pids])
        used = sum(_own_bytes(pid) for pid in pids)
        self.peak_bytes = max(self.peak_bytes, used)
        if used > self._limit:
            self.violation = "sum"
        return 0.0


def _own_bytes(pid: int) -> int:
    """Anonymous and shared memory of a process. Everybody may read it, unlike its PSS."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return 0  # gone
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(_MEMORY_FIELDS)]
    return 1024 * sum(kilobytes)


_MEMORY_FIELDS = (b"RssAnon:", b"RssShmem:")


def _end_all() -> None:
    """Kill and collect the job and, where it could start others, these too."""
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _become_job(
    plan: dict[str, Any], status: Status, places: Places, outside_id: int | None, ready: int
) -> NoReturn:
    """Put up what stands at this level and run the guest."""
    os.setsid()
    others = tasks_of_user(os.getuid() if outside_id is None else outside_id)
    if outside_id is not None:
        with status.step("unprivileged user"):
            namespaces.become(outside_id)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    libc.prctl(libc.PR_SET_DUMPABLE, 1)
    if not os.read(ready, 1):
        os._exit(1)  # the keeper died before we asked to die with it
    os.chdir(places.work)
    os.environ.update(HOME=places.work, TMPDIR=places.work, MPLCONFIGDIR=places.cache)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = places.cache  # which optimizers ask for
    is_walled = plan["level"] == "C"
    if is_walled:
        with status.step("readable Python"):
            _check_readable(plan["readable"])
    job_status = arrange_descriptors(plan["descriptors"])
    with job_status.step("resource limits"):
        limits.prefer_to_kill()
        # The kernel counts what this user runs on the whole machine.
        limits.apply_plan(plan, others)
    if is_walled:
        _put_up_walls(plan, places, job_status)
    if plan["guest"] is None:
        from bcai.bridge.sandbox.self_test import test_lone_walls

        test_lone_walls(job_status, places)
        os._exit(0)
    plan["guest"] |= {"work": places.work, "project": places.project, "data": places.data}
    run(plan, job_status)


def _put_up_walls(plan: dict[str, Any], places: Places, status: Status) -> None:
    give_up_rights(status)
    own = [f"/proc/self/{name}" for name in _PROC_OWN]
    shared = [f"/proc/{name}" for name in _PROC_SHARED if os.path.exists(f"/proc/{name}")]
    readable = [*plan["readable"], *places.readable, *own, *shared]
    with status.step("Landlock"):
        abi = landlock.restrict(readable, [], list(mounts.DEVICES), abi_min=landlock.ABI_SCOPES)
    status.say(landlock=abi)
    with status.step("seccomp"):
        libc.seccomp_load(job_filter(machine(), alone=True))


def _check_readable(paths: list[str]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            raise OSError(f"{path} cannot be read by an unprivileged user")
