"""`bcai create-project`: a folder with something real that runs at once."""

import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

from cyclopts import Parameter

from bcai.base.errors import ConflictError, InputError
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import print_json, stdout_console

_FILES = {
    "main.py": "main.py.template",
    "bcai.toml": "bcai.toml.template",
    "README.md": "README.md.template",
    ".bcaiignore": "bcaiignore.template",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def create_project(
    name: Annotated[str, Parameter(help="Folder to make; its last part names the project.")],
    /,
    *,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Start a project: a script that trains on real data, its `bcai.toml` and a README."""
    folder = Path(name)
    if not _NAME.match(folder.name):
        raise InputError(
            f"project name {folder.name!r}: expected letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit"
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConflictError(
            f"{name!r} is there already; nothing was changed", hint="choose another name"
        ) from None
    except OSError as error:
        raise InputError(f"folder {name!r}: {error.strerror}") from error
    templates = files("bcai.cli") / "template"
    for file_name, template in _FILES.items():
        text = (templates / template).read_text(encoding="utf-8")
        content = Template(text).safe_substitute(name=folder.name)
        (folder / file_name).write_text(content, encoding="utf-8")
    if options.json:
        print_json({"folder": str(folder), "files": sorted(_FILES)})
        return 0
    console = stdout_console()
    console.print(f"made {folder}/ with {', '.join(sorted(_FILES))}", markup=False)
    console.print(f"next: cd {folder} && bcai run .", markup=False)
    return 0
