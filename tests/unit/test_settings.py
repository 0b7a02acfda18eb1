"""Where a setting comes from, and what a wrong one says."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from pydantic import ValidationError

from bcai.base.errors import InputError
from bcai.settings import DEFAULT_PORT, read_settings

# The configuration of the reference architecture, word for word.
REFERENCE = """
[enhanced_vm]
enable_python = true
enable_gpu = true
max_memory_mb = 8192
python_constraints.max_execution_time_ms = 300000
hardware_backend = "auto"
"""


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, with no file or variable of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("BCAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    user_folder = tmp_path / "user"
    user_folder.mkdir()

    def user_config_dir(_application: str) -> str:
        return str(user_folder)

    monkeypatch.setattr(platformdirs, "user_config_dir", user_config_dir)


def write_default(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> int | None:
    return None


def write_user_file(folder: Path, _monkeypatch: pytest.MonkeyPatch) -> int | None:
    (folder / "user" / "config.toml").write_text("port = 1001", "utf-8")
    return None


def write_project_file(folder: Path, _monkeypatch: pytest.MonkeyPatch) -> int | None:
    (folder / "bcai.toml").write_text("port = 1002", "utf-8")
    return None


def write_environment(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> int | None:
    monkeypatch.setenv("BCAI_PORT", "1003")
    return None


def give_flag(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> int | None:
    return 1004


Source = Callable[[Path, pytest.MonkeyPatch], int | None]
WEAKEST_FIRST: list[tuple[Source, int]] = [
    (write_default, DEFAULT_PORT),
    (write_user_file, 1001),
    (write_project_file, 1002),
    (write_environment, 1003),
    (give_flag, 1004),
]


@pytest.mark.parametrize("strongest", range(len(WEAKEST_FIRST)))
def test_the_strongest_source_wins(
    strongest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag: int | None = None
    for source, _ in WEAKEST_FIRST[: strongest + 1]:
        flag = source(tmp_path, monkeypatch)
    assert read_settings(port=flag).port == WEAKEST_FIRST[strongest][1]


def test_bcai_config_stands_in_for_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_user_file(tmp_path, monkeypatch)
    write_project_file(tmp_path, monkeypatch)
    (tmp_path / "production.toml").write_text('host = "0.0.0.0"', "utf-8")
    monkeypatch.setenv("BCAI_CONFIG", str(tmp_path / "production.toml"))
    settings = read_settings()
    assert (settings.host, settings.port) == ("0.0.0.0", DEFAULT_PORT)


def test_files_are_merged_field_by_field(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text("[enhanced_vm]\nenable_gpu = true", "utf-8")
    (tmp_path / "user" / "config.toml").write_text("[enhanced_vm]\nmax_memory_mb = 64", "utf-8")
    enhanced_vm = read_settings().enhanced_vm
    assert (enhanced_vm.enable_gpu, enhanced_vm.max_memory_mb) == (True, 64)


def test_the_references_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text(REFERENCE, "utf-8")
    enhanced_vm = read_settings().enhanced_vm
    assert enhanced_vm.enable_python
    assert enhanced_vm.enable_gpu
    assert enhanced_vm.max_memory_mb == 8192
    assert enhanced_vm.python_constraints.max_execution_time_ms == 300_000
    assert enhanced_vm.hardware_backend == "auto"


def test_a_tables_field_has_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_ENHANCED_VM__PYTHON_CONSTRAINTS__MAX_EXECUTION_TIME_MS", "1500")
    assert read_settings().enhanced_vm.python_constraints.max_execution_time_ms == 1500


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("port = 70000", "port", "70000"),
        ('heartbeat_s = "often"', "heartbeat_s", "'often'"),
        ("[enhanced_vm]\nmax_memory_mb = -1", "enhanced_vm.max_memory_mb", "-1"),
        ("[node]\nslots = 0", "node.slots", "0"),
        ("[node]\nmemory_mb = 1", "node.memory_mb", "1"),  # with which no Python starts
    ],
)
def test_a_wrong_value_is_named_with_its_field(
    text: str, field: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / "bcai.toml").write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_settings()
    assert f"{field}: found {found}; expected " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[enhanced_vm]\nenable_gpus = true", "enhanced_vm.enable_gpus: unknown; did you mean"),
        ("[node]\nmemroy_mb = 2048", "node.memroy_mb: unknown; did you mean 'memory_mb'?"),
        ("[node]\nzzz = 'secret'", "node.zzz: unknown"),
    ],
)
def test_what_is_no_setting_is_named_with_the_nearest(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_settings()
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)  # what stands behind it may be one


def test_every_wrong_value_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text("port = -1\nlease_s = 0", "utf-8")
    with pytest.raises(InputError, match=r"port: .*; lease_s: "):
        read_settings()


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text("host = 'x'\nport = = 1", "utf-8")
    with pytest.raises(InputError, match=r"bcai\.toml.*line 2"):
        read_settings()


def test_a_variable_that_is_no_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_NODE", "not a table")
    with pytest.raises(InputError, match="node"):
        read_settings()


def test_a_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCAI_API_KEY", "bcai_secret")
    settings = read_settings()
    assert "bcai_secret" not in repr(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "bcai_secret"


def test_a_wrong_secret_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_text("api_key = ['bcai_secret']", "utf-8")
    with pytest.raises(InputError) as caught:
        read_settings()
    assert "api_key" in str(caught.value)
    assert "bcai_secret" not in str(caught.value)


def test_settings_do_not_change() -> None:
    settings = read_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1
