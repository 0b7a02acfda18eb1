"""What is installed in some folders of packages. Nothing of it is imported."""

from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

_MODULE_ENDINGS = (".py", ".so")
_DEPTH_MAX = 20  # of extras that stand for extras


def installed_versions(folders: Iterable[str]) -> dict[str, str]:
    """Distributions and their versions, by normalised name; the first of two is imported."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions(path=list(folders)):
        name = distribution.metadata["Name"] or ""  # a half-removed one has none
        if name:
            found.setdefault(canonicalize_name(name), distribution.version)
    return found


def complete_extras(
    folders: Iterable[str], markers: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Extras of each package all of whose packages are there, by normalised names."""
    return _Extras(list(folders), markers).complete()


def top_level_modules(folders: Iterable[str]) -> frozenset[str]:
    """Names that can be imported from these folders."""
    names: set[str] = set()
    for folder in folders:
        for entry in Path(folder).iterdir() if Path(folder).is_dir() else ():
            stem = entry.name.partition(".")[0]
            is_module = entry.name.endswith(_MODULE_ENDINGS) or entry.is_dir()
            if is_module and stem.isidentifier() and stem != "__pycache__":
                names.add(stem if not entry.is_dir() else entry.name)
    return frozenset(name for name in names if name.isidentifier())


class _Extras:
    """Follows what extras stand for."""

    def __init__(self, folders: list[str], markers: Mapping[str, str]) -> None:
        self._versions = installed_versions(folders)
        self._markers = dict(markers)
        self._extras: dict[str, list[str]] = {}
        self._requires: dict[str, list[str]] = {}
        for distribution in metadata.distributions(path=folders):
            name = canonicalize_name(distribution.metadata["Name"] or "")
            if name and name not in self._extras:
                self._extras[name] = distribution.metadata.get_all("Provides-Extra") or []
                self._requires[name] = distribution.requires or []

    def complete(self) -> dict[str, tuple[str, ...]]:
        """Say which extras are complete, where there is any."""
        found = {
            name: tuple(
                sorted(canonicalize_name(extra) for extra in extras if self._is_met(name, extra))
            )
            for name, extras in self._extras.items()
        }
        return {name: extras for name, extras in sorted(found.items()) if extras}

    def _is_met(self, name: str, extra: str, depth: int = 0) -> bool:
        """Whether all that an extra adds is there."""
        known = {canonicalize_name(each): each for each in self._extras.get(name, ())}
        declared = known.get(canonicalize_name(extra))
        if declared is None or depth > _DEPTH_MAX:
            return False
        try:
            added = [
                requirement
                for requirement in map(Requirement, self._requires[name])
                if requirement.marker is not None
                and requirement.marker.evaluate({**self._markers, "extra": declared})
                and not requirement.marker.evaluate({**self._markers, "extra": ""})
            ]
            return all(self._is_there(requirement, depth + 1) for requirement in added)
        except (InvalidRequirement, InvalidVersion, UndefinedComparison, UndefinedEnvironmentName):
            return False  # nobody can say

    def _is_there(self, requirement: Requirement, depth: int) -> bool:
        name = canonicalize_name(requirement.name)
        version = self._versions.get(name)
        return (
            version is not None
            and requirement.specifier.contains(version, prereleases=True)
            and all(self._is_met(name, extra, depth) for extra in requirement.extras)
        )
