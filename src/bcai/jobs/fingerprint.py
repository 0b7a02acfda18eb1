"""What decides the bits of a Python job besides its code and its data, as named facts.

Two nodes with one fingerprint are expected to get the same bits from a script that draws its random
numbers from a seed and does not look at the clock. What is in it errs on the side of too much: a
fact too many finds fewer nodes, one too few makes honest nodes differ.
"""

from collections.abc import Mapping, Sequence

from bcai.jobs.node import Capabilities, Fingerprint
from bcai.jobs.outcome import Reason
from bcai.jobs.placement import environment_of
from bcai.jobs.spec import JobSpec

_NAMED = ("numpy", "torch")  # they stand in the lock already; people look for them


def fingerprint_of(spec: JobSpec, capabilities: Capabilities) -> Fingerprint | None:
    """Return the fingerprint of a job on a node; None if the node does not tell its machine.

    Raises
    ------
    InputError
        A requirement of the job does not parse.
    """
    environment = environment_of(spec, capabilities)
    if isinstance(environment, Reason) or not capabilities.machine or not environment.lock:
        return None
    facts = {
        **capabilities.machine,
        "lock": environment.lock,
        "python": environment.python,
        **{name: environment.packages[name] for name in _NAMED if name in environment.packages},
    }
    gpus = ", ".join(gpu.name for gpu in capabilities.gpus)
    return tuple(sorted({**facts, "gpus": gpus}.items() if gpus else facts.items()))


def in_words(fingerprint: Sequence[tuple[str, str]]) -> str:
    """`Python 3.11.7, torch 2.8.0, ...`: the facts that people tell machines apart by."""
    facts: Mapping[str, str] = dict(fingerprint)
    named = [f"Python {facts['python']}"] if "python" in facts else []
    named += [f"{name} {facts[name]}" for name in _NAMED if name in facts]
    named += [f"lock {facts['lock'].rpartition(':')[2][:8]}"] if "lock" in facts else []
    named += [facts["cpu"]] if "cpu" in facts else []
    named += [f"{facts['threads']} threads"] if "threads" in facts else []
    return ", ".join(named)


def difference(first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> str:
    """Name the facts in which two fingerprints differ."""
    one, other = dict(first), dict(second)
    differing = (name for name in sorted({*one, *other}) if one.get(name) != other.get(name))
    return ", ".join(
        f"{name}: {one.get(name, 'none')} and {other.get(name, 'none')}" for name in differing
    )
