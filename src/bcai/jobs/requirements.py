"""Whether an environment has what a job requires (PEP 508), and what is said when none has.

Note [Requirements are looked up, never installed]
    A node installs nothing for a job: its owner built its environments ahead of time. A job gets
    the first environment that has everything, the node's own before the others, those by name. An
    extra counts as there if the node found all packages that it stands for; a marker is evaluated
    with what the node says about that Python, not with where this code runs.
"""

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from bcai.base.errors import InputError
from bcai.jobs.environment import OWN_NAME, Environment
from bcai.jobs.outcome import Reason, ReasonCode

_OTHERS_NAMED_MAX = 3

# Names that people import, where the distribution has another one.
_IMPORT_NAMES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "pil": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@lru_cache(4096)  # schedulers ask again and again
def parse_requirement(text: str) -> Requirement:
    """Parse one requirement, such as `torch>=2.8`.

    Raises
    ------
    InputError
        It is not a name with an optional version (PEP 508), or it names a URL.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        detail = str(error).splitlines()[0]
        raise InputError(
            f"requirement {text[:200]!r}: {detail}; expected such as 'torch>=2.8'"
        ) from None
    if requirement.url is not None:
        raise InputError(
            f"requirement {text[:200]!r}: names a URL; expected a package of the node by its name"
        )
    return requirement


def in_order(environments: Sequence[Environment]) -> list[Environment]:
    """Environments in the order in which jobs get them."""
    return sorted(environments, key=lambda each: (each.name != OWN_NAME, each.name))


def fitting(
    requirements: Sequence[str], wanted: str | None, environments: Sequence[Environment]
) -> Environment | Reason:
    """Return the environment that a job gets on a node, or why there is none.

    Parameters
    ----------
    wanted
        The one that the job names; None: any.

    Raises
    ------
    InputError
        A requirement does not parse.
    """
    parsed = [parse_requirement(text) for text in requirements]
    offered = in_order(environments)
    if wanted is not None:
        named = [each for each in offered if each.name == wanted]
        if not named:
            return _no_such_environment(wanted, requirements, offered)
        offered = named
    gaps = [(each, gaps_of(parsed, each)) for each in offered]
    found = next((each for each, missing in gaps if not missing), None)
    return found or _unmet(parsed, gaps)


@dataclass(frozen=True, slots=True)
class Gap:
    """A requirement that an environment does not meet, and what it has instead."""

    requirement: Requirement
    version: str | None = None
    extra: str = ""  # the version would do, but this extra is not complete

    def __str__(self) -> str:
        name = self.requirement.name
        if self.version is None:
            return f"no {name}"
        return f"{name} {self.version}" + (f" without [{self.extra}]" if self.extra else "")


def gaps_of(requirements: Sequence[Requirement], environment: Environment) -> list[Gap]:
    """Say which requirements an environment does not meet; one whose marker is false is met."""
    installed = {canonicalize_name(name): name for name in environment.packages}
    gaps: list[Gap] = []
    for requirement in requirements:
        if not _applies(requirement, environment):
            continue
        name = installed.get(canonicalize_name(requirement.name))
        if name is None:
            gaps.append(Gap(requirement))
            continue
        version = environment.packages[name]
        complete = {canonicalize_name(extra) for extra in environment.extras.get(name, ())}
        lacking = sorted(e for e in requirement.extras if canonicalize_name(e) not in complete)
        if not _contains(requirement, version):
            gaps.append(Gap(requirement, version))
        elif lacking:
            gaps.append(Gap(requirement, version, lacking[0]))
    return gaps


def _contains(requirement: Requirement, version: str) -> bool:
    """Whether an installed version will do; as for pip, one that is there may be a pre-release."""
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:  # of the years before PEP 440: only asking for none is sure to fit
        return not requirement.specifier


def _applies(requirement: Requirement, environment: Environment) -> bool:
    """Whether a requirement's environment marker, if any, is true there."""
    if requirement.marker is None:
        return True
    python = environment.python
    known = environment.markers or {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }
    try:
        return requirement.marker.evaluate({**known, "extra": ""})
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion) as error:
        raise InputError(f"requirement {str(requirement)[:200]!r}: its marker: {error}") from None


def _unmet(
    requirements: Sequence[Requirement], gaps: Sequence[tuple[Environment, list[Gap]]]
) -> Reason:
    """Name what the nearest environment lacks, and where else a node has it."""
    nearest, missing = min(gaps, key=lambda pair: _distance(pair[1]))  # the first of equals
    needs = ", ".join(str(gap.requirement) for gap in missing)
    has = ", ".join(str(gap) for gap in missing)
    whose = "the node has" if len(gaps) == 1 and nearest.name == OWN_NAME else (
        f"the environment {nearest.name!r} has"
    )  # fmt: skip
    elsewhere = _elsewhere(missing, [each for each, _ in gaps if each is not nearest])
    hints = [text for text in (_nearest_name(gap, nearest) for gap in missing) if text]
    if not hints:  # nobody shall be told to install what is perhaps a slip of the pen
        hints += [
            f"ask for {gap.requirement.name}, or for a version that includes {gap.version}"
            for gap in missing
            if gap.version is not None and not gap.extra
        ]
        hints.append(_command([str(requirement) for requirement in requirements]))
    return Reason(
        ReasonCode.REQUIREMENTS, f"needs {needs}; {whose} {has}{elsewhere}", hint="; ".join(hints)
    )


def _distance(missing: Sequence[Gap]) -> tuple[int, int]:
    """How far an environment is from fitting: another version is nearer than none."""
    return len(missing), sum(gap.version is None for gap in missing)


def _elsewhere(missing: Sequence[Gap], others: Sequence[Environment]) -> str:
    """Say which other environments have what the nearest one lacks; none has everything."""
    found: list[str] = []
    for gap in missing:
        homes = [each for each in others if not gaps_of([gap.requirement], each)]
        if homes:
            names = ", ".join(repr(each.name) for each in homes[:_OTHERS_NAMED_MAX])
            found.append(f"{gap.requirement.name} is in {names}")
    return f"; {'; '.join(found)}, without the rest" if found else ""


def _nearest_name(gap: Gap, environment: Environment) -> str:
    """Name the package that was perhaps meant."""
    if gap.version is not None:
        return ""
    installed = [str(canonicalize_name(name)) for name in environment.packages]
    asked = canonicalize_name(gap.requirement.name)
    known = _IMPORT_NAMES.get(asked)
    near = [known] if known in installed else difflib.get_close_matches(asked, installed, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _no_such_environment(
    wanted: str, requirements: Sequence[str], offered: Sequence[Environment]
) -> Reason:
    names = [each.name for each in offered]
    near = difflib.get_close_matches(wanted, names, n=1)
    return Reason(
        ReasonCode.REQUIREMENTS,
        f"needs the environment {wanted!r}; the node has {', '.join(map(repr, names))}",
        hint=f"did you mean {near[0]!r}?" if near else _command(requirements, wanted),
    )


def _command(requirements: Sequence[str], name: str = "NAME") -> str:
    """What the node's owner would run."""
    wanted = " ".join(shlex.quote(text) for text in requirements) or "PACKAGE ..."
    return f"the node's owner can build it: bcai node env add {shlex.quote(name)} {wanted}"
