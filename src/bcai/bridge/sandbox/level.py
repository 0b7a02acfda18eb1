"""How strong a jail is, in words that stand on every result, and how strong a job wants it.

Note [Two words]
    A *level* is what a machine builds: `A`, `B`, `C` or `none`. A *security level* is what a job
    asks for: `high`, `standard` or `trusted`. A job that asks for more than there is gets refused;
    it never runs behind less than it asked for, and its result names both.
"""

from dataclasses import dataclass, field

LEVELS = ("A", "B", "C", "none")
"""From the strongest to none."""

ALONE = ("C", "none")
"""Where a job has no namespaces of its own."""

SECURITY_LEVELS = {"high": "B", "standard": "C", "trusted": "none"}
"""What a job may ask for, and the weakest level that it then accepts."""


@dataclass(frozen=True, slots=True)
class JailReport:
    """The walls around a job, as probed and as put up.

    Attributes
    ----------
    level
        `A` (namespaces, seccomp, Landlock and a cgroup), `B` (A without the cgroup),
        `C` (Landlock and seccomp around one process that starts no other),
        `none` (untrusted jobs are refused), `program` (a verified Program, which runs no code
        of the user's and needs no jail), `wasm` (a WebAssembly module, which reaches nothing but
        its own memory and the host functions that it is given).
    layers
        The walls that stand, such as `user namespace`, `no network`, `Landlock ABI 7`.
    limits
        The limits in force, by name with the unit last, such as `memory_bytes`.
    missing
        The walls that this machine could not build, each with what would lift that.
    asked
        The security level that the job asked for; empty where nobody asked.
    start
        How the job's Python began: `warm` (forked from one that had its packages imported),
        `cold` (fresh), or empty where no Python runs.
    """

    level: str
    layers: tuple[str, ...] = ()
    limits: dict[str, int | float] = field(default_factory=dict[str, int | float])
    missing: tuple[str, ...] = ()
    asked: str = ""
    start: str = ""


def said_aloud(report: JailReport) -> list[str]:
    """Return what the owner of a trusted job must hear, whether they look for it or not."""
    if report.asked != "trusted":
        return []
    if report.level == "none":
        return ["trusted: the job ran at level none, without any wall between it and the machine"]
    return [f"trusted: the job would also have run without a jail; it ran at level {report.level}"]


def in_words(report: JailReport) -> str:
    """Say in one line of a log what stood around a job."""
    limits = ", ".join(f"{name}={value:.15g}" for name, value in report.limits.items())
    parts = [
        f"jail {report.level}",
        *([f"asked for {report.asked}"] if report.asked else []),
        f"walls: {', '.join(report.layers) or 'none'}",
        f"limits: {limits or 'none'}",
    ]
    return "; ".join(parts)


def weaker(one: str, other: str) -> str:
    """Return the weaker of two levels."""
    return max(one, other, key=LEVELS.index)


def is_enough(level: str, security_level: str) -> bool:
    """Whether a jail of this level satisfies a job that asks for a security level."""
    known = level if level in LEVELS else "none"  # a newer node may name others
    return LEVELS.index(known) <= LEVELS.index(SECURITY_LEVELS[security_level])


def runs_programs(level: str, security_level: str) -> bool:
    """Whether a job may start programs of the machine, and what it has built itself."""
    return security_level != "high" and level != "C"
