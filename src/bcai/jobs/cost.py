"""What a job costs with the check that it asks for, known before it is sent."""

from dataclasses import dataclass

from bcai.base.units import format_duration_s
from bcai.jobs.spec import JobSpec
from bcai.jobs.verify import Policy, Verify


@dataclass(frozen=True, slots=True)
class Cost:
    """The computing of a job, in runs of it.

    Attributes
    ----------
    nodes
        How many nodes do it in any case.
    runs
        How often it is done, as expected, by nodes and challengers together.
    runs_max
        How often it is done at most, retries after a node's own failure apart.
    node_s_max
        Seconds of nodes and challengers at most: `runs_max` times the job's time limit.
    text
        The same in words.
    """

    verify: str
    nodes: int
    runs: float
    runs_max: int
    node_s_max: float
    text: str


def cost_of(verify: Verify, wall_s: float, *, captured: bool = False) -> Cost:
    """The cost of a job whose time limit is `wall_s` seconds.

    Of a `captured` script that comes out otherwise, what the node recorded is executed again, too.
    """
    twice = 1 if captured and verify.rate > 0 else 0
    runs_max = {
        Policy.NONE: 1,
        Policy.AUDITED: 1 + (verify.rate > 0) + twice,
        Policy.FULL: 2 + twice,
        Policy.REPLICATED: verify.replicas + 1 - verify.replicas % 2,  # an odd number can decide
    }[verify.policy]
    runs = 1 + verify.extra_computing
    most = f"at most {format_duration_s(wall_s * runs_max)} of nodes' time"
    how = {
        Policy.NONE: "one node does the job, and nobody checks the result",
        Policy.AUDITED: f"one node does the job; with probability {verify.rate:g} a challenger "
        "does it again",
        Policy.FULL: "one node does the job, and a challenger does it again",
        Policy.REPLICATED: f"{verify.replicas} nodes of one fingerprint do the job, each for "
        f"itself{'; one more if they are divided' if runs_max > verify.replicas else ''}",
    }[verify.policy]
    if twice:
        how += ", and replays what the node recorded if that differs"
    return Cost(
        str(verify),
        verify.replicas,
        runs,
        runs_max,
        wall_s * runs_max,
        f"{how}: {runs:g} x its computing, {most}",
    )


def cost_of_job(spec: JobSpec) -> Cost:
    """The cost of a job that was sent."""
    return cost_of(spec.verify, spec.limits.wall_s, captured=spec.capture)
