"""How strong a jail is, in words that stand on every result."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JailReport:
    """The walls around a job, as probed and as put up.

    Attributes
    ----------
    level
        `A` (namespaces, seccomp, Landlock and a cgroup), `B` (A without the cgroup),
        `none` (untrusted jobs are refused), `program` (a verified Program, which runs no code
        of the user's and needs no jail), `wasm` (a WebAssembly module, which reaches nothing but
        its own memory and the host functions that it is given).
    layers
        The walls that stand, such as `user namespace`, `no network`, `Landlock ABI 7`.
    limits
        The limits in force, by name with the unit last, such as `memory_bytes`.
    missing
        The walls that this machine could not build, each with what would lift that.
    """

    level: str
    layers: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict[str, float])
    missing: tuple[str, ...] = ()
