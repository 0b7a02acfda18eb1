from pathlib import Path

import pytest

from bcai.base.errors import FormatError, InputError, NotFoundError
from bcai.cli.project import Project, read_project


def write(folder: Path, toml: str) -> Path:
    (folder / "bcai.toml").write_text(toml, encoding="utf-8")
    (folder / "main.py").write_text("print(1)\n", encoding="utf-8")
    return folder


def test_a_folder_without_a_file_starts_at_main(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print(1)\n", encoding="utf-8")
    assert read_project(tmp_path) == Project()


def test_everything_a_project_can_say(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "p"\nentry = "main.py"\nrequirements = ["torch"]\ndata = ["d.csv"]\n'
        'arguments = ["--fast"]\noutputs = ["loss"]\ntimeout = "5m"\nmemory = "2GB"\n'
        'gpu_memory = "8GB"\nmax_retries = 1\nsecurity_level = "standard"\n'
    )
    assert read_project(write(tmp_path, text)) == Project(
        name="p", entry="main.py", requirements=("torch",), data=("d.csv",),
        arguments=("--fast",), outputs=("loss",), timeout="5m", memory="2GB",
        gpu_memory="8GB", max_retries=1, security_level="standard",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ('# hi\n[project]\ntimout = "5m"\n', ["line 3", "project.timout", "'timeout'"]),
        ("[projct]\nname = 1\n", ["line 1", "projct", "'project'"]),
        ('[project]\nsecurity_level = "low"\n', ["line 2", "security_level", "'low'", "'high'"]),
        ("[project]\nname = 3\n", ["line 2", "project.name", "found 3", "text"]),
        ('[project]\n\ntimeout = "soon"\n', ["line 3", "project.timeout", "'soon'", "90s"]),
        ('[project]\nmemory = "much"\n', ["line 2", "project.memory", "'much'", "8GB"]),
        ('[project]\nrequirements = "torch"\n', ["line 2", "requirements", "list"]),
        ("[project]\nmax_retries = -1\n", ["line 2", "max_retries", "-1", "0 to 100"]),
        ("[project\n", ["bcai.toml", "line 1"]),
    ],
)
def test_what_is_wrong_names_line_key_and_remedy(
    tmp_path: Path, toml: str, parts: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        read_project(write(tmp_path, toml))
    for part in parts:
        assert part in str(caught.value)


def test_settings_may_stand_in_the_same_file(tmp_path: Path) -> None:
    folder = write(tmp_path, 'endpoint = "http://localhost:1"\n[enhanced_vm]\nenable_gpu = true\n')
    assert read_project(folder) == Project()


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bcai.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError):
        read_project(tmp_path)


def test_a_missing_entry_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    with pytest.raises(NotFoundError, match=r"main\.py") as caught:
        read_project(tmp_path)
    assert 'entry = "train.py"' in caught.value.hint
