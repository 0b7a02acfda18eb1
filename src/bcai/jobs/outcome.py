"""How an attempt ended: why, with which outputs, at what cost, behind which walls."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from bcai.bridge.inspect.finding import Audit
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.environment import RanIn
from bcai.jobs.states import Move


class ReasonCode(StrEnum):
    """Why a job ended as it did, or why it waits. Stable; each has an entry in docs/errors.md."""

    SUCCEEDED = "job.succeeded"
    CANCELLED = "job.cancelled"
    SYNTAX_ERROR = "user.syntax_error"
    MISSING_IMPORT = "user.missing_import"
    EXCEPTION = "user.exception"
    EXIT_STATUS = "user.exit_status"
    SIGNAL = "user.signal"
    TRAP = "user.trap"
    INVALID_MODULE = "user.invalid_module"
    MISSING_EXPORT = "user.missing_export"
    OUTPUT_MISSING = "output.missing"
    OUTPUT_INVALID = "output.invalid"
    LIMIT_WALL_TIME = "limit.wall_time"
    LIMIT_MEMORY = "limit.memory"
    LIMIT_LOG = "limit.log_bytes"
    LIMIT_OUTPUT = "limit.output_bytes"
    LIMIT_DISK = "limit.disk_bytes"
    LIMIT_PROCESSES = "limit.processes"
    LIMIT_FUEL = "limit.fuel"
    LIMIT_CPU = "limit.cpu_time"
    LIMIT_FILE = "limit.file_bytes"
    LIMIT_INODES = "limit.inodes"
    REQUIREMENTS = "policy.requirements"
    HARDWARE = "policy.hardware"
    NO_JAIL = "policy.no_jail"
    NOT_TRUSTED = "policy.not_trusted"
    MODULE_IMPORT = "policy.module_import"
    INSPECTION = "policy.inspection"
    SIGNATURE = "policy.signature"
    INPUT_UNAVAILABLE = "node.input_unavailable"
    NODE_LOST = "node.lost"
    NODE_ERROR = "node.error"
    WAITING_NO_NODE = "waiting.no_node"
    WAITING_CAPACITY = "waiting.capacity"
    WAITING_BACKOFF = "waiting.backoff"
    WAITING_REPLICAS = "waiting.replicas"


RETRIED = frozenset({ReasonCode.NODE_LOST, ReasonCode.NODE_ERROR, ReasonCode.INPUT_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for people: what happened, and what to do about it."""

    code: ReasonCode
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One named output.

    `value` holds numbers, strings, and lists or dicts of them, encoded by `base.values`. All
    else is a blob: a safetensors file for `array` (one tensor, named `value`) and `state_dict`
    (one tensor per entry), plain bytes for `file`.
    """

    name: str
    kind: Literal["value", "array", "state_dict", "file"]
    value: object = None
    digest: str | None = None
    size: int = 0
    summary: str = ""  # such as `float32[784, 128]`


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt used. Files, inodes and processes are the most seen at once."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0
    log_bytes: int = 0
    fuel: int = 0  # of a WebAssembly module: its instructions
    disk_bytes_peak: int = 0
    inodes_peak: int = 0
    processes_peak: int = 0  # threads count
    output_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, as its node reports it."""

    move: Move
    reason: Reason
    outputs: tuple[Output, ...] = ()
    warnings: tuple[str, ...] = ()
    exit_status: int | None = None
    usage: Usage = field(default_factory=Usage)
    jail: JailReport | None = None
    user_line: int | None = None  # where in the user's code it happened
    audit: Audit | None = None  # what inspection found in the code before it ran
    environment: RanIn | None = None  # the Python that it ran in
    receipt: str | None = None  # digest of the file that anyone can check
    word: str | None = None  # what the node signed of a Python job, in base64 (jobs/ballot.py)
