"""What `bcai run` sends: a script, a piece of code or a project folder, with its wishes."""

from dataclasses import dataclass
from pathlib import Path

from bcai.base.errors import InputError, NotFoundError
from bcai.base.suggest import did_you_mean
from bcai.cli.project import Project, read_project

PROGRAM_SUFFIXES = (".bcai", ".bcaiasm")  # canonical bytes, assembly


@dataclass(frozen=True, slots=True)
class Target:
    """Something to run.

    A script has `code`, and `script` where it is a file; a project has `folder`; a Program of the
    instruction set has `program`, a WebAssembly module `module`.
    """

    name: str
    code: str | None
    code_name: str
    script: Path | None
    folder: Path | None
    project: Project
    program: Path | None = None
    module: Path | None = None

    def source(self, file_name: str) -> str | None:
        """Return the text of one of the target's own files, if it is there and is text."""
        if self.folder is None:
            return self.code if file_name == self.code_name else None
        path = self.folder / file_name
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def left_behind(self, module: str) -> Path | None:
        """Return the module's file beside the script: a script travels alone."""
        if self.script is None:
            return None
        beside = self.script.parent / module
        candidates = (beside.with_suffix(".py"), beside / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)

    @property
    def entry(self) -> str:
        """Name of the file that starts."""
        return self.code_name if self.folder is None else self.project.entry


def read_target(target: str | None, code: str | None) -> Target:
    """Look at what is to be run.

    Raises
    ------
    InputError
        Neither or both are given, or it is nothing that can run; the message says what is.
    """
    if code is not None:
        if target is not None:
            raise InputError(
                f"found both {target!r} and --code: one job runs one of them",
                hint="arguments for the code follow after two dashes: --code '...' -- ARGS",
            )
        return _code_target(code)
    if target is None:
        raise InputError(
            "nothing to run: expected a script, a project folder, or --code",
            hint="bcai run train.py, bcai run ./project, or bcai run --code 'print(1 + 1)'",
        )
    path = Path(target)
    if path.is_dir():
        project = read_project(path)
        return Target(project.name or path.resolve().name, None, project.entry, None, path, project)
    if not path.is_file():
        raise _not_found(path)
    if path.suffix in PROGRAM_SUFFIXES:
        return Target(path.stem, None, path.name, None, None, Project(), path)
    if path.suffix == ".wasm":
        return Target(path.stem, None, path.name, None, None, Project(), module=path)
    if path.suffix != ".py":
        raise InputError(
            f"{target}: expected a Python script (.py), a project folder, a program (.bcai) or a "
            "WebAssembly module (.wasm)",
            hint=_conversion(path.suffix),
        )
    from bcai.sdk.draft import read_script

    return Target(path.stem, read_script(path), path.name, path, None, Project())


def _code_target(code: str) -> Target:
    if not code.strip():
        raise InputError(
            f"--code: found {code!r}, expected Python to run",
            hint="bcai run --code 'print(1 + 1)'; a shell variable may be empty",
        )
    return Target("code", code, "code.py", None, None, Project())


def _not_found(path: Path) -> InputError:
    if path.exists():
        return InputError(
            f"{path} is no regular file (a socket, pipe or device)",
            hint='to run what comes from a pipe: bcai run --code "$(cat)"',
        )
    if path.is_symlink():
        return NotFoundError(f"{path} is a link to {str(path.readlink())!r}, which is not there")
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return NotFoundError(
        f"there is no file or folder {str(path)!r}{did_you_mean(path.name, names)}"
    )


def _conversion(suffix: str) -> str:
    if suffix == ".ipynb":
        return "turn a notebook into a script: jupyter nbconvert --to script NOTEBOOK"
    if suffix == ".wat":
        return "turn text into a module: wat2wasm FILE.wat -o FILE.wasm, or wasmtime.wat2wasm"
    return ""
