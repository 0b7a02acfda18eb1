"""Whether a node's jail is as strong as a job wants it. A job that asks for more is refused."""

from bcai.bridge.sandbox.level import is_enough
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.spec import JobKind, JobSpec, SecurityLevel


def jail_misfit(spec: JobSpec, capabilities: Capabilities, owner: str) -> Reason | None:
    """Say why a node's jail is not what a job asks for, and what would lift that, or None."""
    if spec.kind is not JobKind.PYTHON:
        return None
    jail, asked = capabilities.jail, spec.security_level
    if asked is SecurityLevel.TRUSTED and owner not in capabilities.trusted_owners:
        return Reason(
            ReasonCode.NOT_TRUSTED,
            "security_level 'trusted' is for owners of jobs whom the node's owner knows, and the "
            f"node does not name {owner or 'this one'}",
            hint="ask for 'standard' or 'high', or have the node's owner add "
            f"{owner!r} to trusted_owners in [node] of its settings",
        )
    if is_enough(jail.level, asked.value):
        return None
    missing = "; ".join(jail.missing)
    if jail.level == "none":
        return Reason(
            ReasonCode.NO_JAIL, "the node cannot build the jail that untrusted code needs", missing
        )
    return Reason(
        ReasonCode.NO_JAIL,
        f"security_level {asked.value!r} needs a jail of level A or B; the node builds level "
        f"{jail.level}",
        f"ask for security_level 'standard', which accepts level C; or lift what the node lacks: "
        f"{missing}",
    )
