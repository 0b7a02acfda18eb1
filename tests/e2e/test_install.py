"""install.sh, as a user runs it, with a home of its own."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "install.sh"


def install(
    home: Path, *options: str, python: str = "", via_pipe: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the script; through a pipe it has no checkout beside it."""
    kept = {name: value for name, value in os.environ.items() if name != "TORCH"}
    command = ["sh", "-s", "--", *options] if via_pipe else ["sh", str(SCRIPT), *options]
    return subprocess.run(
        command,
        input=SCRIPT.read_text("utf-8") if via_pipe else "",
        env=kept | {"HOME": str(home), "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_it_explains_itself(tmp_path: Path) -> None:
    answer = install(tmp_path, "--help")
    assert answer.returncode == 0
    assert "--uninstall" in answer.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--form", "."), "unknown option --form"),
        (("--from",), "--from needs a value"),
        (("--torch", "gpu"), "found gpu, expected auto, cpu, cuda or skip"),
        (("--dev", "--from", "bcai.whl"), "--dev needs a checkout"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    answer = install(tmp_path, *options)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    answer = install(tmp_path, python="/bin/false")
    assert answer.returncode == 1
    assert "PYTHON=/bin/false is not a Python 3.11 or newer" in answer.stderr


def test_without_a_source_nothing_is_installed(tmp_path: Path) -> None:
    answer = install(tmp_path, via_pipe=True)
    assert answer.returncode == 1
    assert "name a checkout, wheel or URL with --from" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cut_download_runs_nothing(tmp_path: Path) -> None:
    text = SCRIPT.read_text("utf-8")
    cut = text[: text.rindex("main ")]
    answer = subprocess.run(
        ["sh", "-s", "--", "--uninstall"],
        input=cut,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_uninstalling_leaves_what_is_not_ours(tmp_path: Path) -> None:
    command = tmp_path / ".local/bin/bcai"
    command.parent.mkdir(parents=True)
    command.write_text("somebody else's")
    folder = tmp_path / ".local/share/bcai/venv"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("not an environment")
    assert install(tmp_path, "--uninstall").returncode == 0
    assert command.exists()
    assert (folder / "notes.txt").exists()


@pytest.mark.slow  # it fetches BCAI's dependencies
def test_install_run_and_uninstall(tmp_path: Path) -> None:
    answer = install(tmp_path, "--from", str(SCRIPT.parent), "--torch", "skip")
    assert answer.returncode == 0, answer.stderr
    command = tmp_path / ".local/bin/bcai"
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.defpath,
        "BCAI_HOME": str(tmp_path / "jobs"),
    }

    def bcai(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(command), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert bcai("--version").returncode == 0
    job = bcai("run", "--code", "print('from an installed copy')")
    assert bcai("down").returncode == 0
    assert job.returncode == 0, job.stderr
    assert "from an installed copy" in job.stdout

    assert install(tmp_path, "--uninstall").returncode == 0
    assert not command.exists()
    assert not (tmp_path / ".local/share/bcai/venv").exists()
    assert (tmp_path / "jobs").exists()
