"""The environments of a node: its own Python, and those that its owner built, read from its home.

An environment is a folder `environments/NAME` in the node's home:

    environment.json   what it is, in the form of `Manifest`
    lock.txt           what was installed (environment_lock.py)
    files.txt          every file of it, to see what changed (fingerprint.py)
    python/            the virtual environment that jobs see, read-only

It appears under its name by one rename, when all of it is there (build_environment.py). One that
was removed has a file `retired` until the last job that runs in it has ended; it does not count.
"""

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from pydantic import BaseModel, ConfigDict, ValidationError

from bcai.base.errors import BcaiError, FormatError, NotFoundError
from bcai.bridge.sandbox.environment import JobPython, own_python, shown_folders
from bcai.cluster.node.environment_lock import Lock, locked, parse_lock
from bcai.cluster.node.fingerprint import first_change, parse_listing
from bcai.cluster.node.installed import complete_extras, installed_versions, top_level_modules
from bcai.cluster.node.python_facts import PythonFacts, ask_python
from bcai.jobs.environment import OWN_NAME, Environment, RanIn, check_name

FOLDER = "environments"
MANIFEST, LOCK, FILES, PYTHON = "environment.json", "lock.txt", "files.txt", "python"
RETIRED = "retired"
FORMAT = 1


class Manifest(BaseModel):
    """What an environment says about itself.

    Attributes
    ----------
    python
        Version of the Python that it was built with.
    requirements
        What its owner asked for.
    modules
        Top-level names that can be imported from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    name: str
    python: str
    requirements: tuple[str, ...]
    lock: str
    extras: dict[str, tuple[str, ...]]
    modules: tuple[str, ...]
    size_bytes: int
    built_at: float


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """An environment as its node knows it.

    Attributes
    ----------
    modules
        What can be imported from it beside the standard library; None for the node's own, whose
        owner says with the import policy what jobs may import.
    """

    offer: Environment
    python: JobPython
    lock: Lock
    modules: frozenset[str] | None = None
    manifest: Manifest | None = None
    folder: Path | None = None  # None: the node's own, which nobody removes

    @property
    def ran_in(self) -> RanIn:
        """What the result of a job states."""
        return RanIn(self.offer.name, self.offer.python, self.offer.lock)


def environments_folder(home: Path) -> Path:
    """Where a node's environments are."""
    return home / FOLDER


def environment_names(home: Path) -> list[str]:
    """Names of the environments that were built and not removed, whole or damaged."""
    folder = environments_folder(home)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_dir() and _counts(path))


def _counts(folder: Path) -> bool:
    return not folder.name.startswith(".") and not (folder / RETIRED).exists()


def own_environment() -> NodeEnvironment:
    """Describe the Python that runs this node."""
    markers = {name: str(value) for name, value in default_environment().items()}
    folders = [path for path in sys.path if path]
    versions = installed_versions(folders)
    lock = Lock(
        markers["python_version"],
        sys.implementation.name,
        sysconfig.get_platform(),
        locked((name, version, "") for name, version in versions.items()),
    )
    offer = Environment(
        OWN_NAME,
        markers["python_full_version"],
        versions,
        lock.digest,
        complete_extras(folders, markers),
        markers,
    )
    return NodeEnvironment(offer, own_python(), lock)


def read_environment(home: Path, name: str, *, thorough: bool = False) -> NodeEnvironment:
    """Read an environment that was built, and look whether it still is what it was.

    Parameters
    ----------
    thorough
        Read every file again; else only those whose size or time changed.

    Raises
    ------
    NotFoundError
        There is none of that name.
    FormatError
        It is damaged; the message says by what.
    InputError
        Its Python is gone.
    """
    folder = environments_folder(home) / check_name(name)
    if not (folder.is_dir() and _counts(folder)):
        raise unknown_environment(home, name)
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        text = (folder / LOCK).read_text(encoding="utf-8")
        lock = parse_lock(text)
        change = _change(manifest, lock, folder, thorough=thorough)
    except (OSError, ValidationError, UnicodeDecodeError, FormatError) as error:
        first = str(error).splitlines()[0]
        raise FormatError(f"environment {name!r} is damaged: {first}", hint=_again(name)) from error
    if change:
        raise FormatError(f"environment {name!r} is damaged: {change}", hint=_again(name))
    facts = ask_python(str(folder / PYTHON / "bin" / "python"), folder / PYTHON)
    if facts.minor != lock.python:
        raise FormatError(
            f"environment {name!r} was built for Python {lock.python}, and that is now "
            f"{facts.version}",
            hint=_again(name),
        )
    return _environment(manifest, lock, facts, folder)


def unknown_environment(home: Path, name: str) -> NotFoundError:
    """Say that there is no environment of a name, and which there are."""
    known = ", ".join([OWN_NAME, *environment_names(home)])
    return NotFoundError(f"environment {name!r}: there is none; there are: {known}")


def _change(manifest: Manifest, lock: Lock, folder: Path, *, thorough: bool) -> str:
    if manifest.format != FORMAT:
        return f"its format is {manifest.format}, expected {FORMAT}"
    if (manifest.name, manifest.lock) != (folder.name, lock.digest):
        return f"{MANIFEST} belongs to another environment, or {LOCK} changed"
    listing = parse_listing((folder / FILES).read_text(encoding="utf-8"))
    return first_change(listing, folder / PYTHON, thorough=thorough)


def _environment(
    manifest: Manifest, lock: Lock, facts: PythonFacts, folder: Path
) -> NodeEnvironment:
    """Put together what jobs see: the environment's packages, and its Python's own library."""
    prefix = str(folder / PYTHON)
    python = JobPython(
        name=manifest.name,
        executable=facts.executable,
        prefix=prefix,
        exec_prefix=prefix,
        folders=tuple(shown_folders([prefix, *facts.prefixes], facts.library, facts.minor)),
        sys_path=(*facts.library, *facts.packages),
        built=f"{manifest.built_at!r} {manifest.lock}",
    )
    offer = Environment(
        manifest.name, facts.version, lock.versions, lock.digest, manifest.extras, facts.markers
    )
    return NodeEnvironment(offer, python, lock, frozenset(manifest.modules), manifest, folder)


def read_environments(home: Path) -> tuple[dict[str, NodeEnvironment], list[BcaiError]]:
    """Return a node's environments by name, its own first, and why others cannot be offered."""
    found, problems = {OWN_NAME: own_environment()}, list[BcaiError]()
    for name in environment_names(home):
        try:
            found[name] = read_environment(home, name)
        except BcaiError as error:
            problems.append(error)
    return found, problems


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(
        Path(path, name).lstat().st_size for path, _, files in os.walk(folder) for name in files
    )


def modules_of(facts: PythonFacts) -> tuple[str, ...]:
    """Names that can be imported from an environment's own folders."""
    return tuple(sorted(top_level_modules(facts.packages)))


def _again(name: str) -> str:
    return f"build it again: bcai node env remove {name}, then bcai node env add {name} ..."
