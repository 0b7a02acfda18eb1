"""`bcai run` and `bcai jobs` against a network of their own, in real processes."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cli_process import COMMAND, PATIENCE_S, Cli

pytestmark = pytest.mark.timeout(900)

TRAINING = """
import sys
import bcai
for step in range(1, 6):
    bcai.log(step=step, loss=1 / step)
    bcai.progress(step / 5)
    print("step", step)
print("to stderr", file=sys.stderr)
loss = 0.2
accuracy = 0.75
"""
SLEEPY = "import time\nprint('awake', flush=True)\nfor _ in range(3000):\n    time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home folder; the first command starts its network, and we stop it."""
    cli = Cli(tmp_path_factory.mktemp("home"))
    answer = cli.run("doctor", "--json")
    if answer.status != 0:
        missing = [f for f in json.loads(answer.out)["findings"] if f["health"] == "missing"]
        pytest.skip(f"jobs cannot run on this machine; it needs: {missing}")
    try:
        yield cli
    finally:
        cli.run("down")


def submitted(cli: Cli, code: str, *tokens: str) -> str:
    """Run code to its end, whatever comes out; return the job's id."""
    answer = cli.run("run", "--code", code, "--json", *tokens)
    return str(json.loads(answer.out)["id"])


def test_a_receipt_is_saved_where_there_is_no_output(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="TORCH=cpu make install")
    code = "import torch\n_x = torch.ones(2) + 1\nprint(_x)"
    answer = cli.run("run", "--capture", "--out", tmp_path, "--code", code)
    assert answer.status == 0, answer.err
    assert (tmp_path / "receipt.bcai").is_file()


def test_in_a_pipe_stdout_is_the_jobs_own(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINING, encoding="utf-8")
    out = tmp_path / "out"
    answer = cli.run("run", script, "--out", out)
    assert answer.status == 0, answer.err
    assert answer.out == "".join(f"step {step}\n" for step in range(1, 6))
    for part in ("to stderr", "SUCCEEDED", "loss", "0.2", "accuracy", "0.75", "jail"):
        assert part in answer.err
    assert "\x1b" not in answer.out + answer.err
    assert json.loads((out / "outputs.json").read_text("utf-8"))["loss"] == 0.2
    assert len((out / "metrics.jsonl").read_text("utf-8").splitlines()) == 5
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_one_document(cli: Cli) -> None:
    answer = cli.run("run", "--code", TRAINING, "--json")
    document = json.loads(answer.out)
    assert answer.status == 0
    assert document["state"] == "SUCCEEDED"
    assert document["outputs"]["loss"] == 0.2
    assert document["metrics"][-1] == {"step": 5, "loss": 0.2}
    assert "step 5" in answer.err


@pytest.mark.parametrize(
    ("code", "tokens", "status", "says"),
    [
        ("x = 1", (), 0, "SUCCEEDED"),
        ("y = 0\nprint(1 / y)", (), 1, "ZeroDivisionError"),
        ("import sys; sys.exit(7)", (), 1, "7"),
        ("def f(:\n", (), 1, "SyntaxError"),
        ("x = 1", ("--output", "absent"), 1, "absent"),
        ("x = 1", ("--require", "no-such-package-anywhere"), 3, "no-such-package-anywhere"),
        ("x = 1", ("--timeout", "soon"), 2, "soon"),
        ("x = 1", ("--memory", "much"), 2, "much"),
        ("x = 1", ("--data", "/no/such/file"), 2, "/no/such/file"),
        ("import time; time.sleep(60)", ("--timeout", "1s"), 1, "TIMED_OUT"),
        ("x = 1", ("--api-key", "bcai_wrong"), 4, "key"),
    ],
)
def test_the_exit_status_says_how_it_went(
    cli: Cli, code: str, tokens: tuple[str, ...], status: int, says: str
) -> None:
    answer = cli.run("run", "--code", code, *tokens)
    assert answer.status == status, answer.err
    assert says in answer.err


def test_a_failure_shows_the_line(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("a = 1\nb = 0\nprint(a / b)\nc = 3\n", encoding="utf-8")
    answer = cli.run("run", script)
    assert answer.status == 1
    assert "▶    3 │ print(a / b)" in answer.err


def test_a_job_is_found_by_a_part_of_its_id(cli: Cli) -> None:
    job_id = submitted(cli, "print('hello')\nx = 2")
    for part in (job_id, job_id[-6:], "last"):
        answer = cli.run("jobs", "show", part, "--json")
        assert answer.status == 0, answer.err
        assert json.loads(answer.out)["id"] == job_id
    assert cli.run("jobs", "logs", job_id[-6:]).out == "hello\n"
    several = cli.run("jobs", "show", "job_0")
    assert several.status == 2
    assert "jobs:" in several.err
    nothing = cli.run("jobs", "show", "zzzzzz", "--json")
    assert nothing.status == 2
    assert json.loads(nothing.out)["code"] == "input.not_found"


def test_results_can_be_fetched_later(cli: Cli, tmp_path: Path) -> None:
    job_id = submitted(cli, "import numpy\ntable = numpy.arange(6).reshape(2, 3)\nx = 2")
    answer = cli.run("jobs", "results", job_id, "--out", tmp_path / "kept")
    assert answer.status == 0, answer.err
    assert "x" in answer.out
    assert (tmp_path / "kept" / "table.npy").is_file()
    document = json.loads(cli.run("jobs", "results", job_id, "--json").out)
    assert document["outputs"]["x"] == 2


def test_the_list_is_a_table_or_a_document(cli: Cli) -> None:
    job_id = submitted(cli, "x = 1", "--name", "listed")
    table = cli.run("jobs", "list", "--limit", "3")
    assert job_id in table.out
    assert "listed" in table.out
    document = json.loads(cli.run("jobs", "list", "--state", "succeeded", "--json").out)
    assert job_id in [job["id"] for job in document]
    assert {job["state"] for job in document} == {"SUCCEEDED"}


def test_a_detached_job_is_followed_and_cancelled(cli: Cli) -> None:
    answer = cli.run("run", "--code", SLEEPY, "--detach")
    job_id = answer.out.strip()
    assert answer.status == 0
    assert job_id.startswith("job_")
    refused = cli.run("jobs", "results", job_id)
    assert refused.status == 1
    assert "no results yet" in refused.err
    assert cli.run("jobs", "cancel", job_id).status == 0
    cli.run("jobs", "logs", "-f", job_id)
    assert json.loads(cli.run("jobs", "show", job_id, "--json").out)["state"] == "CANCELLED"
    assert cli.run("jobs", "results", job_id).status == 1


def test_a_new_project_runs(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="pip install 'bcai[ml]'")
    pytest.importorskip("sklearn", reason="pip install 'bcai[ml]'")
    assert cli.run("create-project", "hello", cwd=tmp_path).status == 0
    answer = cli.run("run", ".", "--out", "out", cwd=tmp_path / "hello")
    assert answer.status == 0, answer.err
    assert "test accuracy" in answer.out
    assert (tmp_path / "hello" / "out" / "model.safetensors").is_file()
    again = cli.run("run", ".", "--out", "out", cwd=tmp_path / "hello")
    assert again.status == 0
    assert "replaced" not in again.err


def test_a_project_brings_modules_data_and_arguments(cli: Cli, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "helper.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    (project / "main.py").write_text(
        "import sys\nfrom helper import double\n"
        "total = sum(double(int(line)) for line in open('numbers.txt'))\nprint(sys.argv[1:])\n",
        encoding="utf-8",
    )
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("1\n2\n3\n", encoding="utf-8")
    answer = cli.run("run", project, "--data", numbers, "--json", "--", "--fast", "7")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["outputs"]["total"] == 12
    assert "['--fast', '7']" in answer.err


@pytest.mark.parametrize(
    "tokens",
    [
        ("jobs", "list", "--all"),
        ("run", "--code", "for i in range(100000): print('line', i)"),
        ("doctor",),
        ("--help",),
    ],
)
def test_a_reader_that_leaves_is_no_error(cli: Cli, tokens: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, *tokens], stdout=writer, stderr=subprocess.PIPE, text=True,
        env=cli.environment(),
    )  # fmt: skip
    os.close(writer)
    os.close(reader)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert "error" not in err


def test_nobody_at_the_endpoint(cli: Cli) -> None:
    answer = cli.run("jobs", "list", "--endpoint", "http://127.0.0.1:9", "--json")
    assert answer.status == 1
    assert json.loads(answer.out)["code"] == "dependency.unreachable"


def test_keys_are_made_used_and_revoked(cli: Cli) -> None:
    made = json.loads(cli.run("keys", "add", "laptop", "--json").out)
    assert cli.run("jobs", "list", "--api-key", made["secret"]).status == 0
    assert cli.run("keys", "list", "--api-key", made["secret"]).status == 4
    assert "laptop" in cli.run("keys", "list").out
    assert made["secret"] not in cli.run("keys", "list").out
    assert cli.run("keys", "revoke", made["id"]).status == 0
    assert cli.run("jobs", "list", "--api-key", made["secret"]).status == 4


def test_the_status_shows_the_node(cli: Cli) -> None:
    cli.run("run", "--code", "x = 1")
    document = json.loads(cli.run("status", "--json").out)
    assert document["endpoint"].startswith("http://127.0.0.1:")
    assert document["nodes"][0]["online"] is True
    assert "online" in cli.run("status").out


def test_a_module_beside_the_script_needs_the_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "train.py").write_text("import helper\n", encoding="utf-8")
    answer = cli.run("run", tmp_path / "train.py")
    assert answer.status == 1
    assert "bcai run" in answer.err
    assert "helper.py" in answer.err
