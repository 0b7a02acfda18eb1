"""`bcai node env ...`: the Pythons with packages that a node on this machine offers to jobs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_FAILED, EXIT_OK, BcaiError, InputError
from bcai.base.units import format_count, format_size
from bcai.cli.figures import format_age
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import print_block, print_json, say, stdout_console

if TYPE_CHECKING:
    from bcai.cluster.node.environments import NodeEnvironment

_NAME = Parameter(help="The environment's name, as `bcai node env list` shows it.")


def add_environment(
    name: Annotated[str, Parameter(help="Its name, such as 'science'.")],
    /,
    *requirements: Annotated[str, Parameter(help="Packages, such as 'torch>=2.8'.")],
    file: Annotated[
        Path | None,
        Parameter(name=("--requirement", "-r"), help="A requirements file; hashes are checked."),
    ] = None,
    python: Annotated[
        str | None,
        Parameter(help="The Python to build with, 3.11 or newer. Default: the node's own."),
    ] = None,
    build: Annotated[
        bool,
        Parameter(
            negative="",
            help="Let packages without a wheel run their own build scripts, on this machine and "
            "outside of any jail.",
        ),
    ] = False,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Build an environment with pip; jobs can have it once it is complete."""
    from bcai.cluster.node.build_environment import Recipe, build_environment
    from bcai.cluster.node.folders import is_taken

    home = _home()
    recipe = Recipe(name, requirements, file, python, build)
    built = build_environment(home, recipe, say)
    if options.json:
        print_json(_document(built))
    else:
        say(f"environment {name!r} is ready: {_summary(built)}")
    if is_taken(home):
        say("a node is running here; it offers the environment to the next jobs")
    return EXIT_OK


def list_environments(*, options: OutputOptions = DEFAULT_OUTPUT) -> int:
    """List the environments of this machine's node: its own Python first."""
    from bcai.cluster.node.environments import read_environments

    found, problems = read_environments(_home())
    if options.json:
        damaged = [str(problem) for problem in problems]
        documents = [_document(each, is_whole=False) for each in found.values()]
        print_json({"environments": documents, "damaged": damaged})
        return EXIT_OK
    _print_table(found)
    for problem in problems:
        say(f"{problem} ({problem.hint})" if problem.hint else str(problem))
    return EXIT_OK


def show_environment(
    name: Annotated[str, _NAME],
    /,
    *,
    lock: Annotated[
        bool,
        Parameter(negative="", help="Print the lock file, from which -r builds the same again."),
    ] = False,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Show one environment: its Python, what was asked for, every package."""
    from rich.padding import Padding
    from rich.text import Text

    from bcai.cli.summary import two_columns

    found = _read(name)
    if lock:
        print(found.lock, end="")  # noqa: T201 - stdout is the answer
    elif options.json:
        print_json(_document(found))
    else:
        console = stdout_console()
        console.print(Text.assemble((name, "bold"), f"  {_summary(found)}"))
        rows = [("python", found.python.executable), ("lock", found.offer.lock)]
        if found.manifest is not None:
            age = format_age(time.time() - found.manifest.built_at)
            rows += [("built", f"{age} ago from {', '.join(found.manifest.requirements)}")]
        rows += [("packages", "")] if found.offer.packages else [("packages", "none")]
        rows += [(f"  {package}", version) for package, version in _packages(found).items()]
        print_block(console, Padding(two_columns(rows), (0, 0, 0, 2)))
    return EXIT_OK


def remove_environment(
    name: Annotated[str, _NAME], /, *, options: OutputOptions = DEFAULT_OUTPUT
) -> int:
    """Remove an environment. Jobs that run in it go on to their end."""
    from bcai.cluster.node import environment_folders

    is_gone = environment_folders.remove_environment(_home(), name)
    if options.json:
        print_json({"removed": name, "in_use": not is_gone})
    else:
        rest = "" if is_gone else "; its files go when the last job that runs in it has ended"
        say(f"environment {name!r} is removed{rest}")
    return EXIT_OK


def check_environments(
    *names: Annotated[str, Parameter(help="Which; default: all.")],
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Read every file again and compare; exit status 1 if anything changed."""
    from bcai.cluster.node.environments import environment_names, read_environment

    home = _home()
    _check_names(home, names)
    results: dict[str, str] = {}
    for name in names or environment_names(home):
        try:
            read_environment(home, name, thorough=True)
            results[name] = ""
        except BcaiError as error:
            results[name] = str(error)
    if options.json:
        print_json(
            {name: {"ok": not problem, "problem": problem} for name, problem in results.items()}
        )
    else:
        for name, problem in results.items():
            say(problem or f"environment {name!r} is what it was when it was built")
        if not results:
            say("no environment was built on this machine")
    return EXIT_FAILED if any(results.values()) else EXIT_OK


def _check_names(home: Path, names: tuple[str, ...]) -> None:
    """Refuse what cannot be compared with what it was."""
    from bcai.cluster.node.environments import environment_names, unknown_environment
    from bcai.jobs.environment import OWN_NAME

    for name in names:
        if name == OWN_NAME:
            raise InputError(
                f"environment {OWN_NAME!r} is the Python that runs the node: nobody wrote down "
                "what its files were, so there is nothing to compare them with",
                hint="check those that were built: bcai node env list",
            )
        if name not in environment_names(home):
            raise unknown_environment(home, name)


def _home() -> Path:
    """Where the node of this machine lives."""
    from bcai.settings import read_settings

    return read_settings().node_folder


def _read(name: str) -> "NodeEnvironment":
    from bcai.cluster.node.environments import own_environment, read_environment
    from bcai.jobs.environment import OWN_NAME

    return own_environment() if name == OWN_NAME else read_environment(_home(), name)


def _packages(found: "NodeEnvironment") -> dict[str, str]:
    """Versions, with the complete extras of each package."""
    extras = found.offer.extras
    return {
        name: version + (f"  [{', '.join(extras[name])}]" if name in extras else "")
        for name, version in sorted(found.offer.packages.items())
    }


def _summary(found: "NodeEnvironment") -> str:
    count = len(found.offer.packages)
    size = f", {format_size(found.manifest.size_bytes)}" if found.manifest else ""
    return f"Python {found.offer.python}, {format_count(count, 'package')}{size}"


def _document(found: "NodeEnvironment", *, is_whole: bool = True) -> dict[str, Any]:
    manifest = found.manifest
    document: dict[str, Any] = {
        "name": found.offer.name,
        "python": found.offer.python,
        "executable": found.python.executable,
        "lock": found.offer.lock,
        "packages": dict(sorted(found.offer.packages.items())),
        "requirements": list(manifest.requirements) if manifest else [],
        "size_bytes": manifest.size_bytes if manifest else None,
        "built_at": manifest.built_at if manifest else None,
    }
    return {**document, "extras": found.offer.extras} if is_whole else document


def _print_table(found: "dict[str, NodeEnvironment]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("NAME", "PYTHON", "PACKAGES", "SIZE", "LOCK"):
        table.add_column(title, no_wrap=True)
    for name, each in found.items():
        size = format_size(each.manifest.size_bytes) if each.manifest else "-"
        lock = each.offer.lock.removeprefix("sha256:")[:12]
        table.add_row(Text(name), each.offer.python, str(len(each.offer.packages)), size, lock)
    print_block(stdout_console(), table)
