"""Settings of a process: flag > environment > project file > user file > default.

The environment's names are `BCAI_` and the field, such as `BCAI_ENDPOINT`; a table's field is
joined with two underscores, such as `BCAI_ENHANCED_VM__MAX_MEMORY_MB`. The project file is
`bcai.toml` in the working folder, the user file `config.toml` in the platform's configuration
folder. `$BCAI_CONFIG` names one file that stands in for both.
"""

import os
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from bcai.base.errors import InputError
from bcai.base.suggest import did_you_mean
from bcai.base.wording import found_and_expected

DEFAULT_PORT = 8080
NODE_MEMORY_MB_MIN = 16  # below it hardly a Python starts, let alone one with NumPy
SIGNING_KEY = r"^ed25519:[0-9a-f]{64}$"
_SECRETS = frozenset({"api_key"})


class PythonConstraints(BaseModel):
    """What a node's owner lets every Python job do; a job may ask for less."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_execution_time_ms: int = Field(default=24 * 3_600_000, gt=0)
    max_cpu_time_ms: int | None = Field(
        default=None, gt=0, description="Of all processors together; None: as long as it runs."
    )
    max_file_mb: int | None = Field(default=None, gt=0, description="One file; None: all its disk.")
    max_inodes: int = Field(default=1_000_000, gt=0, description="Files and folders of one job.")
    import_policy: Literal["listed", "any"] = Field(
        default="listed", description="What a job's own code may import; `any` asks nothing."
    )
    allowed_imports: tuple[str, ...] = Field(
        default=(), description="Packages beside the machine-learning ones, by their import name."
    )
    inspection: Literal["refuse", "report"] = Field(
        default="refuse", description="Whether code that is certain to fail is refused unstarted."
    )


class EnhancedVmSettings(BaseModel):
    """What a node lets jobs use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enable_python: bool = True
    enable_gpu: bool = False
    max_memory_mb: int | None = Field(default=None, gt=0, description="None: what the machine has.")
    python_constraints: PythonConstraints = PythonConstraints()
    hardware_backend: str = Field(default="auto", description="What computes programs.")
    threads: int | None = Field(
        default=None, ge=1, description="Of a program's native code; None: one per processor."
    )


class NodeSettings(BaseModel):
    """A node's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path | None = Field(default=None, description="None: `node` in the home folder.")
    id: str | None = Field(default=None, description="None: made once and kept in the node's home.")
    name: str | None = Field(default=None, description="None: the machine's name.")
    log: Path | None = Field(default=None, description="Where its log goes, for those who ask.")
    slots: int | None = Field(default=None, ge=1, description="Jobs at once; None: one per core.")
    memory_mb: int | None = Field(
        default=None,
        ge=NODE_MEMORY_MB_MIN,
        description="Memory that its jobs have together; None: the machine's or the container's, "
        "less an eighth, 4 GiB at most, for the node itself.",
    )
    cpu_count: int | None = Field(
        default=None,
        ge=1,
        description="Cores that its jobs share; None: the machine's or the container's.",
    )
    warm_pythons: int = Field(
        default=2,
        ge=0,
        description="Owners for whom a Python with its packages imported is kept ready; 0: none.",
    )
    jail_level_max: Literal["A", "B", "C", "none"] = Field(
        default="A",
        description="The strongest jail that it builds; a weaker one is for tests. Jobs that ask "
        "for more are refused.",
    )
    trusted_keys: tuple[Annotated[str, Field(pattern=SIGNING_KEY)], ...] = Field(
        default=(),
        description="Keys whose jobs may ask for security_level 'trusted', which run also where no "
        "jail can be built: `bcai keys own` shows one's own.",
    )
    cache_mb: int = Field(default=10_240, ge=1, description="Disk for files of earlier jobs.")
    evidence_mb: int = Field(
        default=10_240,
        ge=0,
        description="Disk for what defends the node's results in a dispute; 0: keep nothing.",
    )
    evidence_hours: float = Field(
        default=24.0 * 30, gt=0, description="How long that is kept at most."
    )
    grace_s: float = Field(default=5.0, ge=0, description="How long jobs may go on after SIGTERM.")


class Settings(BaseSettings):
    """One frozen value, read once in a process's main."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix="BCAI_", env_nested_delimiter="__"
    )

    endpoint: str | None = None
    api_key: SecretStr | None = None
    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("bcai")))
    database_url: str | None = Field(default=None, description="None: SQLite in the home folder.")
    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    heartbeat_s: float = Field(default=2.0, gt=0)
    lease_s: float = Field(default=10.0, gt=0)
    dispute_clock_s: float = Field(
        default=3600.0,
        gt=0,
        description="What each side of a dispute may take for all of its answers together.",
    )
    queue_max: int = Field(default=100_000, ge=1, description="Jobs waiting before BusyError.")
    nodes_max: int | None = Field(
        default=None, ge=1, description="Nodes that there will ever be; None: more may join."
    )
    gpu_fallback: bool = Field(
        default=False, description="Run GPU jobs on the CPU, aloud: embedded network only."
    )
    node: NodeSettings = NodeSettings()
    enhanced_vm: EnhancedVmSettings = EnhancedVmSettings()

    @property
    def network_folder(self) -> Path:
        """Where a network on this machine keeps its database, blobs and endpoint."""
        return self.home / "network"

    @property
    def client_key_file(self) -> Path:
        """The key that signs what this user submits; made on first use."""
        return self.home / "client.pem"

    @property
    def node_folder(self) -> Path:
        """Where a node keeps its identity, its cache and the folders of running jobs."""
        return self.node.home or self.home / "node"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, project file, user file."""
        chosen = os.environ.get("BCAI_CONFIG")
        user_file = Path(platformdirs.user_config_dir("bcai")) / "config.toml"
        files = [Path(chosen)] if chosen else [Path("bcai.toml"), user_file]
        return (
            init_settings,
            env_settings,
            *(_TomlFile(settings_cls, toml_file=file) for file in files),
        )


class _TomlFile(TomlConfigSettingsSource):
    """A settings file whose errors name it."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return super()._read_file(file_path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise InputError(f"settings: {file_path}: {error}") from error


def read_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None count as not given.

    Raises
    ------
    InputError
        A value is wrong; the message names the field, what was found and what was expected.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines: list[str] = []
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            found = "***" if field in _SECRETS else repr(item["input"])
            near = _nearest(item["loc"]) if item["type"] == "extra_forbidden" else ""
            lines.append(f"{field}: {found_and_expected(item['type'], item['msg'], found)}{near}")
        raise InputError("settings: " + "; ".join(lines)) from error
    except SettingsError as error:  # a variable whose table is no JSON, for one
        raise InputError(f"settings: {error}") from error


def _nearest(place: tuple[int | str, ...]) -> str:
    """The setting that was probably meant."""
    table: Any = Settings
    for part in place[:-1]:
        field = getattr(table, "model_fields", {}).get(part)
        table = None if field is None else field.annotation
    return did_you_mean(str(place[-1]), getattr(table, "model_fields", ()))
