"""Without --build, nothing that pip would build gets as far as pip."""

from pathlib import Path

import pytest

from bcai.base.errors import InputError
from bcai.cluster.node.wheels_only import check_file, check_requirement

WHEELS = [
    "numpy",
    "torch>=2.8",
    "jax[cpu]==0.4 ; python_version > '3.10'",
    "a @ https://host/a-1.0-py3-none-any.whl#sha256=00",
    "a @ file:///wheels/a-1.0-py3-none-any.whl",
]
BUILT = [
    "a @ https://host/a-1.0.tar.gz",
    "a @ file:///src/a",
    "a @ git+https://host/a.whl",
    "a-1.0.tar.gz",
    "a.zip",
]


@pytest.mark.parametrize("text", WHEELS)
def test_names_and_wheels_are_taken(text: str, tmp_path: Path) -> None:
    check_requirement(text)
    file = tmp_path / "requirements.txt"
    file.write_text(
        f"# all of it\n--index-url https://host\n{text} \\\n  --hash=sha256:00  # why\n"
    )
    check_file(file)


@pytest.mark.parametrize("text", BUILT)
def test_what_pip_would_build_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a package's name or the place of a wheel"):
        check_requirement(text)
    file = tmp_path / "requirements.txt"
    file.write_text(f"numpy\n{text}\n")
    with pytest.raises(InputError, match="anything else is built"):
        check_file(file)


@pytest.mark.parametrize(
    "line",
    ["-e .", "-e.", "--editable=src", "--no-binary a", "--no-bin=:all:", "--only-binary :none:",
     "--pre -e .", "./a", "/src/a", "https://host/a.tar.gz", "git+https://host/a"],
)  # fmt: skip
@pytest.mark.parametrize("include", ["-r", "--requirement", "--requirem", "-c", "--con"])
def test_lines_that_make_pip_build_are_refused_in_included_files_too(
    include: str, line: str, tmp_path: Path
) -> None:
    file, other = tmp_path / "requirements.txt", tmp_path / "other.txt"
    file.write_text(f"--pre {include} other.txt\n")
    other.write_text("numpy\n--only-binary :all:\n-r requirements.txt\n")
    check_file(file)
    other.write_text(f"numpy\n{line}\n")
    with pytest.raises(InputError) as refused:
        check_file(file)
    assert "--build" in refused.value.hint
