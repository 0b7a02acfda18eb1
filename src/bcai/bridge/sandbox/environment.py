"""What of this machine a job gets to see: a Python environment, read-only, and nothing else.

Note [The guest in other environments]
    A jail is built by the Python that the job will run in, started with `-S`: nothing of its
    packages is imported before the walls stand. What builds the jail and runs the script there
    needs the standard library alone, of any Python that bcai supports, and is imported from the
    node's own bcai, by the path that it has on the host. So an environment holds no bcai and
    nothing of the node's; `import bcai` works in it, since the package is loaded by then.

Note [One hash seed]
    Python draws a seed for the hashes of strings at its start, and the order of a set follows from
    it. Nodes that do the same job would print its sets in different orders and disagree about an
    honest result, and so would two runs of one node. So every jail's Python starts with the same
    seed. What the random one is for, a server that strangers slow down by keys that collide, is
    no threat here: who would choose such keys is the job itself, whose time is limited. Started
    with `-I`, Python would not read the variable; so it is given the parts of `-I` that matter
    (`-P`, `-s`), and an environment in which nothing is of anybody else's.
"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from glob import escape, glob
from pathlib import Path

import bcai

_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/nix/store",
)
_PROGRAMS = (
    "/bin",
    "/usr/bin",
    "/usr/include",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/include",
    "/usr/local/lib",
    "/etc/alternatives",  # `cc` and the like are links through it on Debian
)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_WHOLE_SYSTEM = ("/", "/usr")  # `system_paths` has what is needed of these
_OF_PREFIX = (
    "bin/python",
    "bin/python3",
    "bin/python{version}",
    "include/python{version}*",
    "lib/*.so*",  # also what it was built with, such as OpenSSL
    "lib/python{version}*",
    "lib64/*.so*",
    "lib64/python{version}*",
    "pyvenv.cfg",
)
_CONDA = "conda-meta"  # of an installation that holds nothing but Python and its packages
OWN_NAME = "default"
HASH_SEED = "0"
_THREADS_MAX = 16
_THREADS_PER_PROCESS_LIMIT = 4


@dataclass(frozen=True, slots=True)
class JobPython:
    """A Python that jobs run in.

    Attributes
    ----------
    folders
        What a job sees of it, at the same places: its packages, its standard library, and the few
        files beside them without which no Python starts.
    sys_path
        Where a job's imports look, after its own files.
    built
        Tells it from another that lay in the same place before: that one's warm Pythons are not
        this one's.
    """

    name: str
    executable: str
    prefix: str
    exec_prefix: str
    folders: tuple[str, ...]
    sys_path: tuple[str, ...]
    built: str = ""


@cache
def own_python() -> JobPython:
    """Describe the Python that runs this node, with the packages that are installed beside bcai."""
    return JobPython(
        name=OWN_NAME,
        executable=sys.executable,
        prefix=sys.prefix,
        exec_prefix=sys.exec_prefix,
        folders=tuple(python_folders()),
        sys_path=tuple(import_path()),
    )


def package_folder() -> Path:
    """Folder of the bcai package, wherever it is installed."""
    return Path(str(bcai.__file__)).resolve().parent


def python_folders() -> list[str]:
    """What is shown of the Python installation, the virtual environment and bcai itself."""
    prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    others = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    scripts = [f"{prefix}/bin" for prefix in prefixes]  # where `bcai` itself may have been started
    inside = [path for path in sys.path if _is_inside(path, prefixes) and path not in scripts]
    others += [path for path in sys.path if _is_package_folder(path)]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return shown_folders(prefixes, [*others, *inside, str(package_folder())], version)


def shown_folders(prefixes: Iterable[str], others: Iterable[str], version: str) -> list[str]:
    """What a jail shows of installations of Python `version`, and `others`.

    A prefix may hold far more than Python (`/usr/local`, a project's folder), and what its owner
    alone may read is readable to a job: so of a prefix a few places are shown, never the whole.
    """
    given = set(prefixes)
    found = set(others)
    for prefix in (given | set(map(os.path.realpath, given))) - set(_WHOLE_SYSTEM):
        if os.path.isdir(f"{prefix}/{_CONDA}"):
            found.add(prefix)
            continue
        for place in _OF_PREFIX:
            found |= set(glob(f"{escape(prefix)}/{place.format(version=version)}"))
    return outermost([place for place in found if os.path.exists(place)])


def system_paths() -> list[str]:
    """Libraries of the operating system. Links such as /lib are made anew in the jail."""
    found = [path for path in _SYSTEM if os.path.exists(path) and not os.path.islink(path)]
    linked = Path("/etc/localtime")
    if linked.is_symlink() and linked.exists():
        found.append(str(linked))  # bound as the file that it points to
    return outermost(found)


def program_paths() -> list[str]:
    """Programs of the operating system and what a compiler reads, for jobs that may start them."""
    return [path for path in _PROGRAMS if os.path.isdir(path) and not os.path.islink(path)]


def import_path() -> list[str]:
    """`sys.path` for the job: the standard library and installed packages, without our folders."""
    shown = python_folders()
    package_root = str(package_folder().parent)
    kept = [path for path in sys.path if path and _is_below(path, shown)]
    if package_root not in kept:
        kept.append(package_root)
    return list(dict.fromkeys(kept))


def environment_variables(processes: int) -> dict[str, str]:
    """Give the job's whole environment: nothing of ours passes."""
    threads = str(thread_count(processes))
    return {
        "HOME": "/job",
        "JOBLIB_MULTIPROCESSING": "0",  # its workers are programs of their own
        "LANG": "C.UTF-8",
        "LOKY_MAX_CPU_COUNT": threads,  # else joblib starts a program to count processors
        "MALLOC_ARENA_MAX": "4",  # each one reserves 64 MB of addresses
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/job/.config/matplotlib",
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve each other where jobs share cores
        "OPENBLAS_NUM_THREADS": threads,
        "PATH": "/usr/bin:/bin",
        "PYTHONHASHSEED": HASH_SEED,  # Note [One hash seed]
        "TMPDIR": "/job",
        "TZ": os.environ.get("TZ", "UTC")[:64],
        "USER": "job",
    }


def python_command(executable: str, script: Path) -> list[str]:
    """Start a program of ours that becomes a job: without packages, and nothing but our files."""
    return [executable, "-P", "-s", "-S", "-B", "-X", "utf8", str(script)]


def thread_count(processes: int) -> int:
    """Threads of numeric libraries: all processors, but a fraction of the process limit."""
    available = len(os.sched_getaffinity(0))
    return max(1, min(available, _THREADS_MAX, processes // _THREADS_PER_PROCESS_LIMIT))


def outermost(folders: list[str]) -> list[str]:
    """Drop paths that lie inside others, and what is named twice."""
    kept: list[str] = []
    for folder in sorted(set(folders)):
        if not _is_below(folder, kept):
            kept.append(folder)
    return kept


def _is_package_folder(path: str) -> bool:
    return os.path.basename(path) in _PACKAGE_FOLDERS or path == site.getusersitepackages()


def _is_inside(path: str, folders: list[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)
