"""Builds an environment for jobs, ahead of time, at the wish of the node's owner.

Everything happens in a folder that does not count, and one rename makes it an environment
(environment_folders.py): a build that dies half way leaves nothing that a node would offer.
"""

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from bcai.base.errors import ConflictError, DependencyError, InputError, NotFoundError
from bcai.cluster.node.environment_folders import (
    check_built_name,
    clear_retired,
    publish,
    unfinished_folder,
)
from bcai.cluster.node.environment_lock import Lock, locked
from bcai.cluster.node.environments import (
    FILES,
    FORMAT,
    LOCK,
    MANIFEST,
    PYTHON,
    Manifest,
    NodeEnvironment,
    environment_names,
    environments_folder,
    modules_of,
    read_environment,
    size_of,
)
from bcai.cluster.node.fingerprint import list_content, render_listing
from bcai.cluster.node.folders import remove_tree
from bcai.cluster.node.installed import complete_extras, installed_versions
from bcai.cluster.node.pip_install import ProgramFailed, install, run_program
from bcai.cluster.node.python_facts import PythonFacts, ask_python
from bcai.cluster.node.wheels_only import check_file, check_requirement

ENVIRONMENTS_MAX = 32  # all of them travel in a node's first message
_TOOLS = "tools"

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an owner wants built.

    Attributes
    ----------
    file
        A requirements file; with hashes in it, every package must have one.
    python
        The Python to build with; None: the one that runs the node.
    may_build
        Packages without a wheel may run their own build scripts, here and outside of any jail.
    """

    name: str
    requirements: tuple[str, ...] = ()
    file: Path | None = None
    python: str | None = None
    may_build: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """What was asked for, as on a command line."""
        return (*self.requirements, *(() if self.file is None else (f"-r {self.file}",)))


def build_environment(home: Path, recipe: Recipe, on_progress: OnProgress) -> NodeEnvironment:
    """Build an environment in a node's home; it is complete once it has its name.

    Raises
    ------
    InputError
        The recipe cannot be followed.
    ConflictError
        There is an environment of that name.
    DependencyError
        Python's own tools failed; UnreachableError if for want of a network.
    """
    parent = environments_folder(home)
    clear_retired(parent)
    _check(home, recipe)
    python = shutil.which(recipe.python or sys.executable)
    if python is None:
        raise NotFoundError(f"Python {recipe.python!r}: no such program")
    facts = ask_python(python, home)
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with unfinished_folder(parent) as (folder, held):
        on_progress(f"making a virtual environment of Python {facts.version}")
        pip = _make_virtual(python, folder, held, with_pip=recipe.python is not None)
        target = folder / PYTHON
        new = ask_python(str(target / "bin" / "python"), target)
        arguments = _arguments(recipe)
        installed = install(
            pip,
            target / "bin" / "python",
            arguments,
            on_line=lambda line: _progress_of(line, on_progress),
            keep_open=held,
        )
        remove_tree(folder / _TOOLS)
        lock = Lock(new.minor, new.implementation, new.platform, locked(installed))
        on_progress(f"making {len(lock.packages)} package(s) read-only, and writing down each file")
        _seal(folder, recipe, lock, new)
        publish(folder, parent / recipe.name)
    return read_environment(home, recipe.name)


def _check(home: Path, recipe: Recipe) -> None:
    check_built_name(recipe.name)
    names = environment_names(home)
    if recipe.name in names:
        raise ConflictError(
            f"environment {recipe.name!r} exists already",
            hint=f"take another name, or remove it first: bcai node env remove {recipe.name}",
        )
    if (environments_folder(home) / recipe.name).exists():
        raise ConflictError(
            f"environment {recipe.name!r} was removed, and jobs of the node still run in it",
            hint="take another name, or wait until they have ended",
        )
    if len(names) >= ENVIRONMENTS_MAX:
        raise InputError(
            f"environment {recipe.name!r}: there are {len(names)} already, expected at most "
            f"{ENVIRONMENTS_MAX}",
            hint="remove one: bcai node env remove NAME",
        )
    if not recipe.requirements and recipe.file is None:
        raise InputError("name what to install: packages such as 'torch>=2.8', or a file with -r")
    for text in recipe.requirements:
        try:
            Requirement(text)
        except InvalidRequirement as error:
            detail = str(error).splitlines()[0]
            raise InputError(
                f"requirement {text[:200]!r}: {detail}; expected such as 'torch>=2.8'"
            ) from None
        if not recipe.may_build:
            check_requirement(text)
    if recipe.file is not None and not recipe.file.is_file():
        raise NotFoundError(f"requirements file {str(recipe.file)!r}: no such file")
    if recipe.file is not None and not recipe.may_build:
        check_file(recipe.file)


def _make_virtual(python: str, folder: Path, held: int, *, with_pip: bool) -> list[str]:
    """Make an empty virtual environment; return the command of a pip that lies outside of it.

    Parameters
    ----------
    with_pip
        Use no pip but that Python's own: ours may not know its version.
    """
    own = [sys.executable, "-I", "-m", "pip"]
    needs_tools = with_pip or importlib.util.find_spec("pip") is None
    wanted = [(PYTHON, ["--without-pip"]), *([(_TOOLS, list[str]())] if needs_tools else [])]
    for name, options in wanted:
        command = [python, "-I", "-m", "venv", *options, str(folder / name)]
        try:
            run_program(command, lambda line: None, held)
        except ProgramFailed as failed:
            said = " ".join(line for line in failed.lines if line)[:500]
            raise DependencyError(
                f"{python} cannot make a virtual environment: {said or failed}",
                hint="on Debian and Ubuntu: apt install python3-venv; or name another: --python",
            ) from None
    return [str(folder / _TOOLS / "bin" / "python"), "-I", "-m", "pip"] if needs_tools else own


def _arguments(recipe: Recipe) -> list[str]:
    """What pip is told to install."""
    arguments = [] if recipe.may_build else ["--only-binary", ":all:"]
    if recipe.file is not None:
        if "--hash=" in recipe.file.read_text(encoding="utf-8", errors="replace"):
            arguments.append("--require-hashes")
        arguments += ["--requirement", str(recipe.file.absolute())]
    return [*arguments, *recipe.requirements]


def _progress_of(line: str, on_progress: OnProgress) -> None:
    """Pass on what a person wants to see of pip's output."""
    text = line.strip()
    if text.startswith(
        ("Collecting ", "Processing ", "Downloading ", "Building ", "Installing collected ")
    ):
        on_progress(text[0].lower() + text[1:])


def _seal(folder: Path, recipe: Recipe, lock: Lock, facts: PythonFacts) -> None:
    """Write down what was installed, and make it read-only."""
    found = installed_versions(facts.packages)
    if found != lock.versions:
        odd = sorted(set(found.items()) ^ set(lock.versions.items()))[0][0]
        raise DependencyError(f"pip reports other packages than it installed: see {odd!r}")
    target = folder / PYTHON
    for entry in (target / "bin").iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        elif not (entry.is_symlink() and entry.name.startswith("python")):
            entry.unlink()  # scripts name the folder that they were made in; a job starts none
    _make_read_only(target)
    manifest = Manifest(
        format=FORMAT,
        name=recipe.name,
        python=facts.version,
        requirements=recipe.asked,
        lock=lock.digest,
        extras=complete_extras(facts.packages, facts.markers),
        modules=modules_of(facts),
        size_bytes=size_of(target),
        built_at=time.time(),
    )
    _write(folder / FILES, render_listing(list_content(target)))
    _write(folder / LOCK, str(lock))
    _write(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")


def _make_read_only(folder: Path) -> None:
    """Readable for all, writable for nobody: a jail's own user may differ from the node's."""
    for path, _, files in os.walk(folder):
        for name in files:
            file = Path(path, name)
            if not file.is_symlink():
                file.chmod(0o555 if file.stat().st_mode & 0o100 else 0o444)
        Path(path).chmod(0o555)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
