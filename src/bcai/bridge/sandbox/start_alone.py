"""Starts a job that has no namespaces of its own: at level C, or a trusted one at none."""

import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.cgroup import Cgroup
from bcai.bridge.sandbox.environment import JobPython, outermost, package_folder, system_paths
from bcai.bridge.sandbox.jail import JailRequest
from bcai.bridge.sandbox.process import JailProcess, start_jail
from bcai.bridge.sandbox.stage import own_folder

PROBE_PROCESSES = 16


@contextmanager
def start_alone(
    plan: dict[str, object],
    request: JailRequest | None,
    python: JobPython,
    *,
    outputs: int,
    cgroup: Cgroup | None = None,
    variables: Mapping[str, str] | None = None,
) -> Generator[JailProcess, None, None]:
    """A job in one process after `plan`; gone, and its folder too, when the block is left.

    Parameters
    ----------
    request
        The job; None: the jail tries its own walls instead.

    Raises
    ------
    NoJailError
        Its folder could not be made, or its program not be started.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(own_folder())
        except OSError as error:
            os.close(outputs)
            raise NoJailError(f"cannot make a folder for the job: {error}") from error
        folders = (request.project, request.data) if request is not None else (None, None)
        project, data = (None if each is None else os.path.realpath(each) for each in folders)
        shown = outermost([*system_paths(), *python.folders, str(package_folder())])
        places = {"folder": folder, "project": project, "data": data, "readable": shown}
        with start_jail(
            plan | places,
            processes=request.limits.processes if request is not None else PROBE_PROCESSES,
            outputs=outputs,
            cgroup=cgroup,
            executable=python.executable,
            inputs=None if request is None else request.inputs,
            variables=variables,
        ) as jail:
            yield jail
