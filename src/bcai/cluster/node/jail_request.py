"""What a job of Python asks of its jail."""

from pathlib import Path

from bcai.bridge.inspect.policy import guest_list
from bcai.bridge.sandbox.jail import JailLimits, JailRequest
from bcai.cluster.node.environments import NodeEnvironment
from bcai.cluster.node.inputs import DATA, PROJECT
from bcai.cluster.node.inspection import policy_of
from bcai.jobs.spec import JobSpec, Mount
from bcai.settings import PythonConstraints


def request_of(
    spec: JobSpec,
    tenant: str,
    folder: Path,
    limits: JailLimits,
    owner: PythonConstraints,
    environment: NodeEnvironment | None,
) -> JailRequest:
    """The request of a job whose folders are built.

    Parameters
    ----------
    tenant
        Whose job it is: jobs of two never come from one warm Python.
    owner
        What this machine's owner allows.
    """
    modules = None if environment is None else environment.modules
    has_data = any(file.mount is Mount.DATA for file in spec.files)
    return JailRequest(
        project=folder / PROJECT,
        entry=spec.entry or spec.code_name,
        data=folder / DATA if has_data else None,
        arguments=spec.arguments,
        limits=limits,
        required_outputs=spec.required_outputs,
        tenant=tenant,
        security_level=spec.security_level.value,
        allowed_imports=guest_list(policy_of(owner, modules)),
        python=None if environment is None else environment.python,
        is_captured=spec.capture,
    )
