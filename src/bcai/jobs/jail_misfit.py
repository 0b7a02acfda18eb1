"""Whether a node's jail is as strong as a job wants it. A job that asks for more is refused."""

from collections.abc import Container

from bcai.bridge.sandbox.level import is_enough
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.signature import SignedBy
from bcai.jobs.spec import JobKind, JobSpec, SecurityLevel


def jail_misfit(spec: JobSpec, capabilities: Capabilities) -> Reason | None:
    """Say why a node's jail is not what a job asks for, and what would lift that, or None."""
    if spec.kind is not JobKind.PYTHON:
        return None
    jail, asked = capabilities.jail, spec.security_level
    if asked is SecurityLevel.TRUSTED and not is_trusted(spec, capabilities.trusted_keys):
        return _not_trusted(spec)
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


def is_trusted(spec: JobSpec, keys: Container[str]) -> bool:
    """Whether one of these keys signed a job itself; that the signature holds is checked before.

    What a gateway says of a job's owner counts for nothing, and so does what it signs for clients
    that have no key.
    """
    return _signer(spec) in keys


def _signer(spec: JobSpec) -> str:
    """The key of the client that signed; empty where no client did."""
    signature = spec.signature
    return "" if signature is None or signature.by is not SignedBy.CLIENT else signature.key


def _not_trusted(spec: JobSpec) -> Reason:
    signer = _signer(spec)
    if not signer:
        return Reason(
            ReasonCode.NOT_TRUSTED,
            "security_level 'trusted' is for jobs that a key which the node's owner knows has "
            "signed, and no client signed this one",
            hint="ask for 'standard' or 'high', or submit it with the SDK or bcai run, which sign "
            "with your own key (bcai keys own)",
        )
    return Reason(
        ReasonCode.NOT_TRUSTED,
        "security_level 'trusted' is for jobs that a key which the node's owner knows has signed, "
        f"and the node does not name {signer}",
        hint="ask for 'standard' or 'high', or have the node's owner add "
        f"{signer!r} to trusted_keys in [node] of its settings and start the node again",
    )
