"""What goes into a jail and what comes out: the contract between a node and the sandbox.

The launcher (`launcher.py`) keeps it: `launch(request, on_event, cancelled) -> JailExit`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from bcai.bridge.sandbox.environment import JobPython
from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.bridge.sandbox.level import JailReport


@dataclass(frozen=True, slots=True)
class JailLimits:
    """What the job may use. All are hard; each has its own cause when it is hit.

    Attributes
    ----------
    cpu_s
        Time of processors that all its processes use together; None: as many as there are, for
        as long as it runs.
    file_bytes
        Size of any one file; None: `disk_bytes` alone bounds it.
    inodes
        Files and folders that it makes.
    gpu_count
        GPUs that it sees, which the request names.
    """

    wall_s: float
    memory_bytes: int
    log_bytes: int
    output_bytes: int
    disk_bytes: int
    processes: int
    cpu_s: float | None = None
    file_bytes: int | None = None
    inodes: int = 65536
    gpu_count: int = 0

    def in_force(self) -> dict[str, int | float]:
        """Each limit that is set, by name, as it stands on a result."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class JailRequest:
    """One run of untrusted Python.

    Attributes
    ----------
    project
        Host folder with the code; seen read-only. Each of its top-level entries also appears in
        the working folder, so that `open("config.yaml")` and `import mymodule` work.
    entry
        The script that starts, relative to `project`.
    data
        Host folder with data files, or None; seen read-only, each entry also in the working folder.
    arguments
        `sys.argv[1:]` of the script.
    tenant
        Whose job it is; jobs of two tenants never come from one warm Python.
    allowed_imports
        Packages that the script's own code may import beside the standard library and its own
        modules; None: any. A policy, not a wall.
    python
        The Python to run it in; None: the node's own.
    inputs
        Descriptor of a sealed file with tensors (`inputs.py`), or None; the caller closes it.
    security_level
        What the job asks for: `high`, `standard` or `trusted`; see Note [Two words] in `level.py`.
        That a tenant may be trusted is the caller's to know.
    gpus
        Those that are the job's own while it runs: as many as its limits say.
    """

    project: Path
    entry: str
    data: Path | None
    arguments: tuple[str, ...]
    limits: JailLimits
    required_outputs: tuple[str, ...] = ()
    tenant: str = ""
    allowed_imports: tuple[str, ...] | None = None
    python: JobPython | None = None
    inputs: int | None = None
    security_level: str = "high"
    gpus: tuple[GpuDevice, ...] = ()
    is_captured: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The walls stand and the interpreter is up; user code runs next."""

    jail: JailReport


@dataclass(frozen=True, slots=True)
class LogText:
    """Text that the job wrote: UTF-8 with what is not text escaped, and no terminal codes."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class Metric:
    """`bcai.log(step=..., loss=...)`."""

    step: int | None
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Progress:
    """`bcai.progress(0.4)`: a fraction from 0 to 1."""

    fraction: float


JailEvent = Started | LogText | Metric | Progress
OnEvent = Callable[[JailEvent], None]


class Cause(StrEnum):
    """Why the job's process ended."""

    EXITED = "exited"
    EXCEPTION = "exception"
    SYNTAX_ERROR = "syntax_error"
    MISSING_IMPORT = "missing_import"
    SIGNAL = "signal"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    LOG_BYTES = "log_bytes"
    OUTPUT_BYTES = "output_bytes"
    DISK_BYTES = "disk_bytes"
    PROCESSES = "processes"
    CPU_TIME = "cpu_time"
    FILE_BYTES = "file_bytes"
    INODES = "inodes"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_INVALID = "output_invalid"
    TRAP = "trap"  # of a WebAssembly module, as the four below
    FUEL = "fuel"
    MODULE_INVALID = "module_invalid"
    IMPORT_REFUSED = "import_refused"
    EXPORT_MISSING = "export_missing"
    CANCELLED = "cancelled"
    JAIL_ERROR = "jail_error"  # the walls could not be put up; not the user's fault


@dataclass(frozen=True, slots=True)
class JailOutput:
    """One named output, checked on the host, never unpickled.

    `value` is encoded as `base.values` does (strict JSON data). `content` is a safetensors file
    for `array` (one tensor named `value`) and `state_dict`, plain bytes for `file`.
    """

    name: str
    kind: Literal["value", "array", "state_dict", "file"]
    value: object = None
    content: bytes | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class JailExit:
    """How the run ended.

    `message` is one line for the user, complete in itself: what happened, with the number that
    was hit or the line of their code. `hint` says what to do.
    """

    cause: Cause
    message: str
    jail: JailReport
    hint: str = ""
    exit_status: int | None = None
    user_line: int | None = None
    outputs: tuple[JailOutput, ...] = ()
    warnings: tuple[str, ...] = ()
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0
    log_bytes: int = 0
    fuel: int = 0  # instructions of a WebAssembly module
    receipt: bytes | None = None  # of a run of a verified Program: a file that the node has signed
    disk_bytes_peak: int = 0  # this and the next two as seen twenty times a second
    inodes_peak: int = 0
    processes_peak: int = 0  # threads count
    output_bytes: int = 0
