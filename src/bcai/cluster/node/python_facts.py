"""What there is to know of a Python: asked of that Python itself, without loading its packages."""

import json
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bcai.base.errors import InputError

PYTHON_MIN = (3, 11)  # as for bcai itself: what builds a jail runs in this Python
_ANSWER_S = 30.0

# Runs in the other Python, with its standard library alone (-I -S).
_QUESTIONS = r"""
import json, os, platform, sys, sysconfig
folder = sys.argv[1]
places = {"base": folder, "platbase": folder}
scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
purelib, platlib = (sysconfig.get_path(name, scheme, places) for name in ("purelib", "platlib"))
version = platform.python_version()
print(json.dumps({
    "executable": sys.executable,
    "version": version,
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform(),
    "prefixes": sorted({sys.base_prefix, sys.base_exec_prefix}),
    "library": [path for path in sys.path if path],
    "packages": sorted({purelib, platlib}),
    "markers": {
        "implementation_name": sys.implementation.name,
        "implementation_version": version,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": version,
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
}))
"""


class PythonFacts(BaseModel):
    """One Python.

    Attributes
    ----------
    prefixes
        Where its own installation lies, as opposed to a virtual environment.
    library
        Its standard library, as on `sys.path`.
    packages
        Where a virtual environment in the folder that was asked about has its packages.
    """

    model_config = ConfigDict(frozen=True)

    executable: str
    version: str
    implementation: str
    platform: str
    prefixes: tuple[str, ...]
    library: tuple[str, ...]
    packages: tuple[str, ...]
    markers: dict[str, str]

    @property
    def minor(self) -> str:
        """Major and minor version: `3.11`."""
        return self.markers["python_version"]


def ask_python(executable: str, folder: Path) -> PythonFacts:
    """Ask a Python about itself, and about a virtual environment of it in `folder`.

    Raises
    ------
    InputError
        There is none, it does not answer, or it is too old for jobs.
    """
    command = [executable, "-I", "-S", "-c", _QUESTIONS, str(folder)]
    try:
        answer = subprocess.run(  # noqa: S603 - the owner names the program
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=True
        )
        facts = PythonFacts.model_validate(json.loads(answer.stdout))
    except OSError as error:
        raise InputError(f"Python {executable!r}: {error.strerror or error}") from error
    except (subprocess.SubprocessError, ValueError, ValidationError) as error:
        raise InputError(f"Python {executable!r}: does not answer as a Python would") from error
    found = tuple(int(part) for part in facts.minor.split("."))
    if found < PYTHON_MIN:
        least = ".".join(map(str, PYTHON_MIN))
        raise InputError(f"Python {executable!r} is {facts.version}, expected {least} or newer")
    return facts
