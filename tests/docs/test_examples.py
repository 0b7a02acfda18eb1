"""Every example on every page runs as it stands, on a network of its own."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, bcai_commands, blocks, pages, python_program

PATIENCE_S = 280  # under pytest's own limit, so that a failure shows what was printed
BIN = Path(sys.executable).parent
# An answer of 400 or more fails the example, as its reader would say.
SHELL_PRELUDE = (
    'curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }\n'
)
PAGES_WITH_PYTHON = [page for page in pages() if python_program(page).strip()]
SHELL_BLOCKS = [
    pytest.param(page, block, id=f"{page}:{block.line}")
    for page in pages()
    for block in blocks(page)
    if block.language == "bash"
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with a home of its own, where a network is up and one job has ended.

    BCAI_URL, API_KEY and JOB_ID stand for what a reader fills in.
    """
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BCAI_")}
    variables = kept | {
        "BCAI_HOME": str(home / "bcai"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (
        (home / "network.txt").open("w") as output,
        subprocess.Popen(
            [str(BIN / "bcai"), "up", "--port", "0"],
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as network,
    ):
        try:
            endpoint = wait_for_endpoint(home / "bcai/network/endpoint.json", network)
            job = run(["bcai", "run", "--code", "loss = 0.25"], home, variables)
            assert job.returncode == 0, job.stdout
            job_id = re.search(r"job_[0-9a-z]{26}", job.stdout)
            assert job_id is not None, job.stdout
            yield variables | {
                "BCAI_URL": str(endpoint["url"]),
                "API_KEY": str(endpoint["api_key"]),
                "JOB_ID": job_id[0],
            }
        finally:
            network.terminate()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """A working folder for each page: a copy of what its reader has in theirs."""
    made: dict[Path, Path] = {}
    for page in pages():
        folder = tmp_path_factory.mktemp(page.stem)
        shutil.copytree(ROOT / "examples", folder / "examples")
        made[page] = folder
    return made


def wait_for_endpoint(file: Path, network: subprocess.Popen[bytes]) -> dict[str, object]:
    """What a network writes once it is up."""
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert network.poll() is None, "the network ended at once"
        assert time.monotonic() < deadline, "the network does not come up"
        time.sleep(0.1)
    return json.loads(file.read_text("utf-8"))


def run(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program without a terminal; stderr is mixed into stdout."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it started, too
            output, _ = process.communicate()
            output += f"\n(killed after {PATIENCE_S} s)"
        return subprocess.CompletedProcess(command, process.returncode, output)


@functools.cache
def help_of(*command: str) -> str | None:
    """What `bcai COMMAND --help` prints; None if there is no such command."""
    answer = run([str(BIN / "bcai"), *command, "--help"], ROOT, dict(os.environ))
    return answer.stdout if answer.returncode == 0 else None


@pytest.mark.parametrize(("page", "block"), SHELL_BLOCKS)
def test_shell_examples_run(
    page: Path, block: Block, folders: dict[Path, Path], environment: dict[str, str]
) -> None:
    if block.skipped_because is not None:
        pytest.skip(f"{block.skipped_because} (marked on the page)")
    if "curl " in block.code and shutil.which("curl") is None:
        pytest.skip("needs curl: apt install curl")
    command = ["bash", "-euo", "pipefail", "-c", SHELL_PRELUDE + block.code]
    answer = run(command, folders[page], environment)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=str)
def test_python_examples_run(
    page: Path, folders: dict[Path, Path], environment: dict[str, str]
) -> None:
    program = folders[page] / f"{page.stem}_examples.py"
    program.write_text(python_program(page), "utf-8")
    answer = run([sys.executable, str(program)], folders[page], environment)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(("page", "block"), SHELL_BLOCKS)
def test_commands_and_options_exist(page: Path, block: Block) -> None:
    for words in bcai_commands(block):
        path = [words[1]] if len(words) > 1 and not words[1].startswith("-") else []
        if path and path[0] in {"jobs", "keys", "node", "program", "receipt"}:
            path.append(words[2])
        shown = help_of(*path)
        assert shown is not None, f"{page}:{block.line}: no command {' '.join(words)!r}"
        own = words[: words.index("--")] if "--" in words else words
        options = {word.partition("=")[0] for word in own if word.startswith("--")}
        known = set(re.findall(r"--[a-z][a-z-]*", shown)) | {"--help"}
        assert options <= known, f"{page}:{block.line}: {' '.join(words)}"


def test_every_example_that_does_not_run_says_why() -> None:
    silent = [
        f"{page}:{block.line}"
        for page in pages()
        for block in blocks(page)
        if block.skipped_because == ""
    ]
    assert silent == []
