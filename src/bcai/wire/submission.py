"""A job as a client writes it: the body of `POST /v1/jobs`, lowered to a JobSpec."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bcai.base.errors import InputError
from bcai.base.units import MIB, format_size
from bcai.jobs.environment import NAME_PATTERN
from bcai.jobs.signature import SpecSignature
from bcai.jobs.spec import (
    CODE_BYTES_MAX,
    FILE_BYTES_MAX,
    FILES_MAX,
    FileRef,
    Hardware,
    JobKind,
    JobSpec,
    Limits,
    Mount,
    SecurityLevel,
)
from bcai.jobs.verify import EXPECTED, parse_verify
from bcai.wire.quantities import Count, Duration, Size, Text

PYTHON_BYTES_MIN = 4 * MIB  # measured: an empty script of a warm Python ends well with it
Digest = Annotated[str, Field(pattern=r"^blake3:[0-9a-f]{64}$")]


def _check_verify(text: str) -> str:
    """Refuse what `to_spec` could not lower."""
    try:
        parse_verify(text)
    except InputError:
        raise ValueError(EXPECTED) from None
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileMessage(_Strict):
    """A file that was uploaded to `PUT /v1/blobs/{digest}`."""

    path: Text = Field(min_length=1, max_length=1024)
    digest: Digest
    size: Count = Field(ge=0, le=FILE_BYTES_MAX)
    mount: Mount = Mount.PROJECT


class HardwareMessage(_Strict):
    """What the job needs of a node."""

    cpu_count: Count = Field(default=1, ge=1, le=4096)
    gpu_count: Count = Field(default=0, ge=0, le=1024)
    gpu_memory: Size | None = Field(default=None, description="Per GPU; it implies one GPU.")
    memory: Size | None = Field(default=None, description="The same as `limits.memory`.")


class LimitsMessage(_Strict):
    """What the job may use."""

    memory: Size | None = None
    log: Size | None = None
    output: Size | None = None
    disk: Size | None = None
    processes: Count | None = Field(default=None, ge=1, le=100_000)
    fuel: Count | None = Field(
        default=None, ge=1, le=2**53, description="Instructions of a WebAssembly module."
    )
    cpu: Duration | None = Field(
        default=None, description="Time of processors, all processes together."
    )
    file: Size | None = Field(default=None, description="Size of any one file.")
    inodes: Count | None = Field(
        default=None, ge=1, le=2**30, description="Files and folders that the job makes."
    )


def _check_environment(name: str) -> str:
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ValueError("expected the name of an environment, such as 'science' (a-z, 0-9, . _ -)")
    return name


class SignatureMessage(_Strict):
    """Whose job it is: an Ed25519 signature over the canonical bytes of the spec.

    They are described in `jobs/sign_spec.py`. Without one the gateway signs in its own name.
    """

    key: str = Field(pattern=r"^ed25519:[0-9a-f]{64}$")
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$", description="Another one for each job.")
    issued_at: Count = Field(ge=0, le=2**53, description="Unix seconds.")
    expires_at: Count = Field(ge=0, le=2**53, description="No node starts the job after that.")
    value: str = Field(pattern=r"^[0-9a-f]{128}$")


class JobSubmission(_Strict):
    """Exactly one of `code` (a script's text) and `entry` (a file of `files`) is set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "import torch; print(torch.__version__)",
                    "requirements": ["torch>=2"],
                    "hardware": {"memory": "2GB"},
                    "timeout": 3600,
                }
            ],
            "oneOf": [
                {"required": ["code"], "properties": {"code": {"type": "string"}}},
                {"required": ["entry"], "properties": {"entry": {"type": "string"}}},
            ],
        }
    )

    kind: JobKind = JobKind.PYTHON
    security_level: SecurityLevel = Field(
        default=SecurityLevel.HIGH,
        description="How strong a jail it asks for; a node that has less refuses the job.",
    )
    name: Text = Field(default="job", min_length=1, max_length=200)
    code: Text | None = Field(default=None, max_length=CODE_BYTES_MAX)
    code_name: str = Field(
        default="job.py", min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f]+$"
    )
    entry: Text | None = Field(default=None, max_length=1024)
    files: list[FileMessage] = Field(default_factory=list[FileMessage], max_length=FILES_MAX)
    arguments: list[Text] = Field(default_factory=list[Text], max_length=1000)
    requirements: list[Text] = Field(default_factory=list[Text], max_length=200)
    environment: Annotated[str, AfterValidator(_check_environment)] | None = Field(
        default=None,
        json_schema_extra={"pattern": f"^{NAME_PATTERN}$"},
        description="Environment of a node, by name; without it the first that has `requirements`.",
    )
    hardware: HardwareMessage = HardwareMessage()
    limits: LimitsMessage = LimitsMessage()
    timeout: Duration = 3600.0
    max_retries: Count = Field(default=3, ge=0, le=100)
    required_outputs: list[Text] = Field(default_factory=list[Text], max_length=1000)
    reward_tokens: Count = Field(default=0, ge=0, le=2**53)
    labels: dict[Text, Text] = Field(default_factory=dict[Text, Text], max_length=64)
    capture: bool = Field(
        default=False,
        strict=True,
        description="Have the script's PyTorch operations executed and recorded by the node.",
    )
    verify: Annotated[str, AfterValidator(_check_verify)] = Field(
        default="none",
        max_length=64,
        examples=["audited:0.1"],
        description="`none`; `full` or `audited:RATE`: whether others do the job again to check "
        "its result, always or with that probability, for kinds `program` and `training`, and with "
        "`capture`; or `replicated:NODES` for kind `python`: so many nodes do it, and what most "
        "say counts.",
    )
    signature: SignatureMessage | None = None

    def to_spec(self) -> JobSpec:
        """Lower to the spec that the network stores.

        Raises
        ------
        InputError
            The parts do not fit together.
        """
        memory_bytes = self.memory_bytes_asked()
        wanted: dict[str, Any] = {
            "memory_bytes": memory_bytes,
            "log_bytes": self.limits.log,
            "output_bytes": self.limits.output,
            "disk_bytes": self.limits.disk,
            "processes": self.limits.processes,
            "fuel": self.limits.fuel,
            "cpu_s": self.limits.cpu,
            "file_bytes": self.limits.file,
            "inodes": self.limits.inodes,
        }
        gpu_count = self.hardware.gpu_count or (1 if self.hardware.gpu_memory else 0)
        return JobSpec(
            name=self.name,
            code=self.code,
            code_name=self.code_name,
            entry=self.entry,
            files=tuple(
                FileRef(path=file.path, digest=file.digest, size=file.size, mount=file.mount)
                for file in self.files
            ),
            arguments=tuple(self.arguments),
            requirements=tuple(self.requirements),
            environment=self.environment,
            hardware=Hardware(
                self.hardware.cpu_count, gpu_count, self.hardware.gpu_memory or 0, memory_bytes or 0
            ),
            limits=Limits(
                wall_s=self.timeout,
                **{name: value for name, value in wanted.items() if value is not None},
            ),
            max_retries=self.max_retries,
            required_outputs=tuple(self.required_outputs),
            reward_tokens=self.reward_tokens,
            labels=dict(self.labels),
            kind=self.kind,
            security_level=self.security_level,
            verify=parse_verify(self.verify),
            capture=self.capture,
            signature=SpecSignature(**self.signature.model_dump()) if self.signature else None,
        )

    def memory_bytes_asked(self) -> int | None:
        """Memory that the job asks for; None where it names none.

        Raises
        ------
        InputError
            It is too little for this kind of job.
        """
        for field, asked in (("limits", self.limits.memory), ("hardware", self.hardware.memory)):
            if asked is None:
                continue
            if self.kind is JobKind.PYTHON and asked < PYTHON_BYTES_MIN:
                raise InputError(
                    f"{field}.memory: found {format_size(asked)}, expected at least "
                    f"{format_size(PYTHON_BYTES_MIN)}: with less no Python starts",
                    hint="a number without a unit counts bytes: '512MiB', '2GB'",
                )
            return asked
        return None
