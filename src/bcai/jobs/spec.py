"""What a client asks for: the code, its files and data, the hardware and the limits."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from bcai.base.digest import parse_digest
from bcai.base.errors import InputError
from bcai.base.units import GIB, MIB, format_size
from bcai.jobs.environment import check_name
from bcai.jobs.signature import SpecSignature
from bcai.jobs.verify import NO_CHECK, Policy, Verify

CODE_BYTES_MAX = MIB  # a longer script is a project
FILES_MAX = 10_000
FILE_BYTES_MAX = 16 * GIB
INPUTS_NAME = "inputs.safetensors"
NAME_BYTES_MAX = 255  # of one file or folder, on every file system that we know


class JobKind(StrEnum):
    """What runs: Python in a jail, a Program, the training of one, or a WebAssembly module."""

    PYTHON = "python"
    PROGRAM = "program"
    TRAINING = "training"
    WASM = "wasm"


CHECKABLE = frozenset({JobKind.PROGRAM, JobKind.TRAINING})


class SecurityLevel(StrEnum):
    """How strong a jail a job asks for; it is never run behind less.

    `high`: own namespaces, no programs, no network. `standard`: the same with programs of the
    machine where that stands, else one confined process. `trusted`: the owner's own code on a node
    that knows this owner, behind whatever the machine has.
    """

    HIGH = "high"
    STANDARD = "standard"
    TRUSTED = "trusted"


class Mount(StrEnum):
    """What a file of a job is to it; none of them can be changed in the jail.

    `INPUT` is the one safetensors file that a Python job reads with `bcai.input`, from memory.
    """

    PROJECT = "project"
    DATA = "data"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class FileRef:
    """One uploaded file: its place in the job's working folder and its content address."""

    path: str
    digest: str
    size: int
    mount: Mount = Mount.PROJECT

    def __post_init__(self) -> None:
        """Refuse paths that leave the folder."""
        check_path(self.path)
        parse_digest(self.digest)
        if not 0 <= self.size <= FILE_BYTES_MAX:
            raise InputError(
                f"file {self.path!r}: size is {self.size}, expected 0 to {FILE_BYTES_MAX} bytes"
            )


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the job needs of a node; 0 bytes: nothing in particular.

    `memory_bytes` is the memory limit that somebody asked for. One that nobody asked for is the
    node's to lower.
    """

    cpu_count: int = 1
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the job may use; each has its own reason when it is hit.

    Attributes
    ----------
    fuel
        Instructions of a WebAssembly module; None: as many as the time limit allows.
    cpu_s
        Time of processors, all processes together; None: all processors for `wall_s`.
    file_bytes
        Size of any one file; None: `disk_bytes` bounds it.
    inodes
        Files and folders that the job makes.
    """

    wall_s: float = 3600.0
    memory_bytes: int = 4 * GIB
    log_bytes: int = 16 * MIB
    output_bytes: int = 512 * MIB
    disk_bytes: int = 1 * GIB
    processes: int = 128
    fuel: int | None = None
    cpu_s: float | None = None
    file_bytes: int | None = None
    inodes: int = 65536

    def __post_init__(self) -> None:
        """Every limit is positive: none is ever switched off."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"limits.{name}: found {value}, expected a number above 0")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job, complete: the same spec runs on every kind of network.

    Exactly one of `code` and `entry` is set: a script brings its text, a project names the
    file of `files` that starts. A Program is an `entry` of canonical bytes, a WebAssembly module
    an `entry` of its bytes; their inputs are the data file `inputs.safetensors`.
    """

    name: str
    code: str | None = None
    code_name: str = "job.py"
    entry: str | None = None
    files: tuple[FileRef, ...] = ()
    arguments: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)
    limits: Limits = field(default_factory=Limits)
    max_retries: int = 3
    required_outputs: tuple[str, ...] = ()
    reward_tokens: int = 0
    labels: dict[str, str] = field(default_factory=dict[str, str])
    kind: JobKind = JobKind.PYTHON
    security_level: SecurityLevel = SecurityLevel.HIGH
    environment: str | None = None  # of a node, by name; None: the first that has the requirements
    verify: Verify = NO_CHECK
    capture: bool = False  # record and execute the script's tensor operations outside of the jail
    signature: SpecSignature | None = None

    def __post_init__(self) -> None:
        """Refuse a spec that could not run."""
        if (self.code is None) == (self.entry is None):
            raise InputError("a job has either 'code' or 'entry' (a file of 'files'), exactly one")
        if self.code is not None and len(self.code.encode("utf-8", "replace")) > CODE_BYTES_MAX:
            raise InputError(
                f"code: longer than {format_size(CODE_BYTES_MAX)}; send it as a project folder"
            )
        if self.kind is not JobKind.PYTHON and self.entry is None:
            raise InputError(
                f"a job of kind {self.kind.value!r} is sent as 'entry' (a file of 'files'), not as "
                "'code'"
            )
        self._check_jail()
        check_verify(self.verify, self.kind, captured=self.capture)
        self._check_capture()
        if len(self.files) > FILES_MAX:
            raise InputError(f"files: found {len(self.files)}, expected at most {FILES_MAX}")
        paths = [(file.mount, file.path) for file in self.files]
        if len(set(paths)) != len(paths):
            twice = sorted({path for path in paths if paths.count(path) > 1})
            raise InputError(f"files: named twice: {', '.join(path for _, path in twice[:5])}")
        self._check_inputs(set(paths))
        self._check_places(set(paths))
        if self.entry is not None and (Mount.PROJECT, self.entry) not in paths:
            raise InputError(f"entry: {self.entry!r} is not among the project's files")
        if not 0 <= self.max_retries <= 100:
            raise InputError(f"max_retries: found {self.max_retries}, expected 0 to 100")

    def _check_jail(self) -> None:
        """Refuse wishes about the jail of code that runs in none."""
        if self.environment is not None:
            check_name(self.environment)
            if self.kind is not JobKind.PYTHON:
                raise InputError(
                    f"environment: found {self.environment!r}, but a job of kind "
                    f"{self.kind.value!r} runs in none: only Python code has packages"
                )
        if self.kind is not JobKind.PYTHON and self.security_level is not SecurityLevel.HIGH:
            raise InputError(
                f"security_level: found {self.security_level.value!r}, but a job of kind "
                f"{self.kind.value!r} has none to choose: it runs no code in a jail"
            )

    def _check_capture(self) -> None:
        """Refuse to capture what has no tensor operations of Python."""
        if self.capture and self.kind is not JobKind.PYTHON:
            raise InputError(
                f"capture: found true, but a job of kind {self.kind.value!r} runs no PyTorch; its "
                "receipt covers every step already"
            )

    def _check_inputs(self, taken: set[tuple[Mount, str]]) -> None:
        """Refuse tensors that nothing would read."""
        for path in sorted(path for mount, path in taken if mount is Mount.INPUT):
            if path != INPUTS_NAME:
                raise InputError(f"files: {path!r} has mount 'input', expected {INPUTS_NAME!r}")
            if self.kind is not JobKind.PYTHON:
                raise InputError(
                    "files: mount 'input' is for jobs of Python; one of kind "
                    f"{self.kind.value!r} has its inputs in the data file {INPUTS_NAME!r}"
                )

    def _check_places(self, taken: set[tuple[Mount, str]]) -> None:
        """Refuse what no folder can hold: a file inside a file, two files in one place."""
        for mount, path in taken:
            for folder in PurePosixPath(path).parents:
                if (mount, str(folder)) in taken:
                    raise InputError(f"files: {str(folder)!r} is a file, but {path!r} is inside it")
        if self.code is None:
            return
        if check_path(self.code_name) != PurePosixPath(self.code_name).name:
            raise InputError(f"code_name {self.code_name!r}: expected a plain file name")
        # A folder of that name is in the way just as much.
        names = {PurePosixPath(path).parts[0] for mount, path in taken if mount is Mount.PROJECT}
        if self.code_name in names:
            raise InputError(
                f"code_name {self.code_name!r}: a file or folder of the project has this name"
            )


def check_verify(verify: Verify, kind: JobKind, *, captured: bool) -> None:
    """Refuse a check of what cannot be checked. Raises InputError."""
    if verify == NO_CHECK:
        return
    found = f"verify: found {str(verify)!r}, but a job of kind {kind.value!r} cannot"
    if verify.policy is Policy.REPLICATED:
        if kind is not JobKind.PYTHON:
            raise InputError(
                f"{found} be replicated: that is for jobs of Python",
                hint="ask for 'full' or 'audited:RATE', which prove more of a Program or a "
                "training",
            )
    elif kind not in CHECKABLE and not captured:
        raise InputError(
            f"{found} be checked: challengers check Programs, trainings and captured scripts, "
            "whose bits another computer must get too",
            hint="a Program or a training can: their receipt covers every step; of Python, a "
            "PyTorch script with 'capture'; for all other ask for 'replicated:3'",
        )


def check_path(path: str) -> str:
    """Return `path` if it is a plain relative path inside a folder.

    Raises
    ------
    InputError
        It is empty, absolute, not normal (`a//b`, `./a`), climbs with `..`, holds control bytes,
        or a name in it is longer than a file system takes.
    """
    parts = PurePosixPath(path).parts
    plain = path and not path.startswith("/") and ".." not in parts and "/".join(parts) == path
    if not plain or any(ord(character) < 32 or character == "\\" for character in path):
        raise InputError(f"path {path!r}: expected a plain relative path such as 'data/train.csv'")
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in parts)
    if longest > NAME_BYTES_MAX:
        raise InputError(
            f"path {path[:80]!r}...: a name of {longest} bytes, expected at most {NAME_BYTES_MAX}"
        )
    return path
